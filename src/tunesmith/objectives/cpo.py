"""CPO: DPO with a uniform reference, and imitation of chosen answers that keeps them likely (Xu et al. 2024, eq. 6):

    L = −(1−ε) log σ(δ) − ε log σ(−δ) + λ NLL(y_w),    δ = β [ log π(y_w|x) − log π(y_l|x) ]

The imitation is a mean over the tokens of chosen answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith.contracts.batch import Batch
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs
from tunesmith.objectives.pairs import SFT, Pairs, lengths, measurements, sums


class Cpo(Pairs):
    """Prefer chosen answers without a reference model, and imitate them."""

    NAME: ClassVar[str] = "cpo"
    paper: ClassVar[str] = "Xu et al. 2024, Contrastive Preference Optimization (arXiv 2401.08417)"

    form: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """The loss of a pair (see the objective `dpo`)."""
    beta: Annotated[float, Field(gt=0.0)] = 0.1
    """How much a nat of difference counts."""
    smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Share of pairs expected to be labelled the wrong way round (for `sigmoid`)."""
    length_normalised: bool = False
    """Compare log-probabilities a token."""
    sft: Annotated[float, Field(ge=0.0)] = 1.0
    """Weight of imitating the chosen answers."""

    def names(self) -> Sequence[str]:
        """The loss of pairs."""
        return [self.form]

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The loss of the pairs, that of chosen answers, measurements."""
        from tunesmith.objectives.preference_loss import LOSSES, compared

        assert outputs.logprob is not None
        logprobs = sums(outputs.logprob, batch)
        said = logprobs / lengths(batch) if self.length_normalised else logprobs
        pair = compared(said.chosen, said.rejected, beta=self.beta, smoothing=self.smoothing)
        imitation = [Term(SFT, -logprobs.chosen, self.sft)] if self.sft else []
        return [
            Term(self.form, LOSSES[self.form](pair)),
            *imitation,
            *measurements(said.scaled(self.beta), logprobs, batch),
        ]
