"""The loss of token-level objectives: the negative log-likelihood of trained tokens,

    L = − Σ_i w_i log p(y_i | x_<i) / Σ_i w_i ,

summed per sequence here and divided once, by the engine, over the whole update.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs
from tunesmith.objectives.base import by_example, by_sequence

NAME = "nll"


def counts(examples: Sequence[Example]) -> dict[str, float]:
    """Trained tokens of an update. A sequence's first token has nothing before it and is never a target."""
    return {NAME: float(sum(int(example.trained[1:].sum()) for example in examples))}


def loss(outputs: Outputs, batch: Batch) -> list[Term]:
    """One term: per example, the summed negative log-likelihood (float32 ``[E]``)."""
    assert outputs.logprob is not None
    return [Term(NAME, by_example(by_sequence(-outputs.logprob, batch), batch))]
