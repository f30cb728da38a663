"""SimPO: the reward of an answer is its mean log-probability, without any reference (Meng et al. 2024, eq. 6):

    L = −log σ( β/|y_w| log π(y_w|x) − β/|y_l| log π(y_l|x) − γ )

With ``sft`` the chosen answers are imitated besides (CPO-SimPO): their negative log-likelihood, a mean over tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.contracts.batch import Batch
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs
from tunesmith.objectives.pairs import SFT, Pairs, lengths, measurements, sums

NAME = "simpo"


class Simpo(Pairs):
    """Prefer chosen answers by their mean log-probability, without a reference model."""

    NAME: ClassVar[str] = "simpo"
    paper: ClassVar[str] = "Meng et al. 2024, SimPO (arXiv 2405.14734)"

    beta: Annotated[float, Field(gt=0.0)] = 2.0
    """How much a nat a token counts."""
    gamma: Annotated[float, Field(ge=0.0)] = 1.0
    """The margin by which the chosen answer's reward should be higher."""
    sft: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of imitating the chosen answers (1 is CPO-SimPO)."""

    def names(self) -> Sequence[str]:
        """The loss of pairs."""
        return [NAME]

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The loss of the pairs, that of chosen answers, measurements."""
        from torch.nn.functional import logsigmoid

        assert outputs.logprob is not None
        logprobs = sums(outputs.logprob, batch)
        rewards = (logprobs / lengths(batch)).scaled(self.beta)
        values = -logsigmoid(rewards.chosen - rewards.rejected - self.gamma)
        imitation = [Term(SFT, -logprobs.chosen, self.sft)] if self.sft else []
        return [Term(NAME, values), *imitation, *measurements(rewards, logprobs, batch)]
