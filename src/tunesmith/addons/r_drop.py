"""R-Drop: two passes with different dropout masks shall agree (Liang et al. 2021, arXiv:2106.14448, section 2.2),

    L = ½ (L₁ + L₂) + w · ½ ( KL(P₁ ‖ P₂) + KL(P₂ ‖ P₁) ),

the symmetric divergence (equation 2) summed over targets and divided by their number. Equation 3 adds both losses; here
it is their mean, as in the authors' code, so that w = 0 is ordinary training. Both passes are one: every example stands
twice in the batch.

Both directions of the divergence together are Σ_v (p₁ − p₂)(log p₁ − log p₂).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from tunesmith.addons.around import Around, by_rows, refused, targets
from tunesmith.contracts.addon import Added, Setting
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Objective, Term
from tunesmith.contracts.policy import Outputs
from tunesmith.errors import UserError
from tunesmith.recipe.base import PartConfig
from tunesmith.recipe.schema import NonNegative

if TYPE_CHECKING:
    import torch
    from torch import nn

NAME = "r_drop"
ROWS = 256
"""Readout rows whose two distributions are held at once."""
DROPOUTS = ("dropout", "attention_dropout", "dropout_prob")
"""Where modules that drop without ``nn.Dropout`` keep their rate."""


class RDrop(PartConfig):
    """Two passes with different dropout shall agree."""

    NAME: ClassVar[str] = "r-drop"
    paper: ClassVar[str] = "https://arxiv.org/abs/2106.14448"
    use: ClassVar[str] = "Small data sets and a model (or method) with dropout; costs twice the time."

    weight: NonNegative = 1.0
    """What a nat of disagreement a target weighs beside the loss (the paper's alpha; 1 to 5)."""

    def put(self, setting: Setting) -> Added:
        """An objective that sees every example twice."""
        objective, head = setting.objective, setting.objective.head()
        if not objective.decomposes or objective.samples or objective.beside:
            raise refused(setting, self.NAME, "an objective of single rows that reads no model beside the trained one")
        if head is not None and head.problem not in ("class", "tokens"):
            raise refused(setting, self.NAME, "words, or one class a text or token: what gives a distribution")
        if not drops(setting.policy):
            raise UserError(
                "the add-on r-drop compares two dropout masks, and nothing in this model drops",
                allowed="a model with dropout, or a method with it: method.dropout=0.1",
                code="no-dropout",
            )
        return Added(Twice(objective, self.weight).objective, tokens=max(1, setting.tokens // 2))


class Twice(Around):
    """An objective whose examples stand twice in every batch: first all of them, then all of them again."""

    copies = 2

    def __init__(self, inner: Objective, weight: float) -> None:
        super().__init__(inner)
        self.weight = weight
        self.want = inner.want if inner.want.scores else replace(inner.want, hidden=True)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A batch of twice as many examples."""
        return self.inner.collate([*examples, *examples])

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """The inner counts, and the targets that are compared."""
        return {**self.inner.counts(examples), NAME: targets(examples) or 1.0}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """Means of both passes' terms, and their disagreement: all ``[E]`` of the examples themselves."""
        terms = [replace(term, values=_folded(term.values) / 2) for term in self.inner.loss(outputs, batch)]
        disagreement = _folded(by_rows(self._both(outputs).repeat(2), batch)) / 2
        return [*terms, Term(NAME, disagreement, self.weight)]

    def _both(self, outputs: Outputs) -> torch.Tensor:
        """Half the symmetric divergence of each target ``[N/2]``."""
        import torch
        from torch.utils.checkpoint import checkpoint

        if outputs.scores is not None:
            first, second = outputs.scores.chunk(2)
            return disagreement(first, second)
        assert outputs.hidden is not None and outputs.logits is not None
        logits = outputs.logits

        def chunk(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            return disagreement(logits(one), logits(other))

        pairs = zip(*(half.split(ROWS) for half in outputs.hidden.chunk(2)), strict=True)
        return torch.cat([checkpoint(chunk, one, other, use_reentrant=False) for one, other in pairs])


def disagreement(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """½ (KL(P₁ ‖ P₂) + KL(P₂ ‖ P₁)) of each row, in nats: logits float32 ``[n, V]`` of both -> ``[n]``."""
    left, right = one.log_softmax(dim=-1), other.log_softmax(dim=-1)
    return 0.5 * ((left.exp() - right.exp()) * (left - right)).sum(-1)


def drops(policy: nn.Module) -> bool:
    """Whether anything in the model drops while it trains."""
    return any(_rate(module) > 0.0 for module in policy.modules())


def _rate(module: nn.Module) -> float:
    from torch import nn

    rates = [getattr(module, name, 0.0) for name in DROPOUTS]
    own = module.p if isinstance(module, nn.Dropout) else 0.0
    return max([own, *(rate for rate in rates if isinstance(rate, float))])


def _folded(values: torch.Tensor) -> torch.Tensor:
    """``[2E] -> [E]``: what both copies of an example have together."""
    first, second = values.chunk(2)
    return first + second
