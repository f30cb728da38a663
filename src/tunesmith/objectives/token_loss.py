"""The loss of token-level objectives: the negative log-likelihood of trained tokens,

    L = − Σ_i w_i log p(y_i | x_<i) / Σ_i w_i ,

summed per sequence here and divided once, by the engine, over the whole update.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs

NAME = "nll"


def counts(examples: Sequence[Example]) -> dict[str, float]:
    """Trained tokens of an update. A sequence's first token has nothing before it and is never a target."""
    return {NAME: float(sum(int(example.trained[1:].sum()) for example in examples))}


def loss(outputs: Outputs, batch: Batch) -> list[Term]:
    """One term: per sequence, the summed negative log-likelihood (float32 ``[U]``)."""
    import torch  # worker processes tokenise without it

    assert outputs.logprob is not None
    values = torch.zeros(len(batch.unit_ids), dtype=torch.float32, device=outputs.logprob.device)
    return [Term(NAME, values.index_add(0, batch.readout.unit, -outputs.logprob * batch.readout.weights))]
