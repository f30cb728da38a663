"""Direct preference optimisation: raise chosen answers over rejected ones, measured against a reference model.

    L = E[ ℓ( log π(y_w|x)/π_ref(y_w|x), log π(y_l|x)/π_ref(y_l|x) ) ]

with ℓ one of ``preference_loss``, or several by weight; the reference is the model as training began. ``sft`` adds the
negative log-likelihood of the chosen answers (RPO's term; Pang et al. 2024, eq. 2), a mean over all their tokens.
``length_normalised`` divides each log-ratio by its answer's tokens (Lambert et al. 2024, Tülu 3, eq. 6).

The trap: an answer's log-probability is a sum over its tokens, so long answers weigh more unless they are normalised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith.contracts.batch import Batch
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.objectives.pairs import SFT, Pairs, lengths, measurements, sums

Name = Literal["sigmoid", "hinge", "ipo", "robust", "exo", "nca", "sppo", "apo-zero", "apo-down", "discopop", "sft"]
Weight = Annotated[float, Field(gt=0.0)]


class Dpo(Pairs):
    """Prefer chosen answers over rejected ones, against the model as training began."""

    NAME: ClassVar[str] = "dpo"
    paper: ClassVar[str] = "Rafailov et al. 2023, Direct Preference Optimization (arXiv 2305.18290)"
    beside: ClassVar[Mapping[str, Want]] = {"reference": Want(logprob=True)}

    losses: Name | dict[Name, Weight] = "sigmoid"
    """The loss of a pair, or several by weight: `{sigmoid: 0.8, sft: 0.2}`. `hinge` is SLiC, `ipo` squared, `robust`
    and `exo` expect wrong labels, `nca`, `apo-zero`, `apo-down` and `sppo` move each answer by itself, `sft` imitates
    the chosen one."""
    beta: Annotated[float, Field(gt=0.0)] = 0.1
    """How strongly the model is held to the reference; IPO calls it τ."""
    smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Share of pairs expected to be labelled the wrong way round (`sigmoid` with it is cDPO; `robust`, `exo`)."""
    length_normalised: bool = False
    """Divide each answer's log-ratio by its tokens, so that long answers weigh no more than short ones."""
    divergence: Literal["reverse-kl", "forward-kl", "jensen-shannon", "alpha"] = "reverse-kl"
    """What holds the model to the reference, for losses of the difference (`sigmoid`, `hinge`, `ipo`, `robust`, `exo`,
    `discopop`)."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Of the α-divergence: near 0 it is the reverse KL, near 1 the forward KL."""

    @property
    def weights(self) -> Mapping[str, float]:
        """The losses by weight."""
        return (
            {self.losses: 1.0}
            if isinstance(self.losses, str)
            else {str(name): one for name, one in self.losses.items()}
        )

    def names(self) -> Sequence[str]:
        """The losses of pairs."""
        return [name for name in self.weights if name != SFT]

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """Each loss of the pairs, then measurements."""
        from tunesmith.objectives.preference_loss import LOSSES, compared

        reference = batch.beside["reference"].logprob
        assert outputs.logprob is not None
        assert reference is not None
        logprobs = sums(outputs.logprob, batch)
        # token by token first: rounded in float32, sums of hundreds of nats differ by more than the two models do
        ratios = sums(outputs.logprob - reference, batch)
        if self.length_normalised:
            ratios = ratios / lengths(batch)
        pair = compared(
            ratios.chosen,
            ratios.rejected,
            beta=self.beta,
            smoothing=self.smoothing,
            divergence=self.divergence,
            alpha=self.alpha,
        )
        terms = [
            Term(name, -logprobs.chosen if name == SFT else LOSSES[name](pair), weight)
            for name, weight in self.weights.items()
        ]
        return terms + measurements(ratios.scaled(self.beta), logprobs, batch)
