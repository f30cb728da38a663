"""ORPO: imitate chosen answers and, in the same loss, raise their odds over the rejected (Hong et al. 2024, eq. 6, 7):

    L = NLL(y_w) − λ log σ( log odds(y_w|x) − log odds(y_l|x) ),    odds = p / (1 − p),  log p = (1/|y|) log π(y|x)

The imitation is a mean over the tokens of chosen answers. No reference model is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.contracts.batch import Batch
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs
from tunesmith.objectives.pairs import SFT, Both, Pairs, lengths, measurements, sums

NAME = "odds_ratio"


class Orpo(Pairs):
    """Imitate chosen answers and raise their odds over rejected ones, without a reference model."""

    NAME: ClassVar[str] = "orpo"
    paper: ClassVar[str] = "Hong et al. 2024, ORPO (arXiv 2403.07691)"

    weight: Annotated[float, Field(gt=0.0)] = 0.1
    """Weight of the odds ratio beside the imitation (the paper's λ)."""

    def names(self) -> Sequence[str]:
        """The loss of pairs."""
        return [NAME]

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The loss of chosen answers, that of the odds ratio, measurements."""
        from torch.nn.functional import logsigmoid

        from tunesmith.objectives.preference_loss import log_odds

        assert outputs.logprob is not None
        logprobs = sums(outputs.logprob, batch)
        mean = logprobs / lengths(batch)
        odds = Both(log_odds(mean.chosen), log_odds(mean.rejected))
        values = -logsigmoid(odds.chosen - odds.rejected)
        return [Term(SFT, -logprobs.chosen), Term(NAME, values, self.weight), *measurements(odds, logprobs, batch)]
