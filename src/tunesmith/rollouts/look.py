"""What a model says of answers that were sampled: log-probabilities, entropies and values, without gradients.

They are computed by the trainer's own forward pass, never taken from the sampler: a ratio of the two would otherwise
hold the sampler's rounding as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.policy import Outputs
from tunesmith.engine.microbatch import cut
from tunesmith.objectives.advantages import Floats
from tunesmith.objectives.sampled import Sampled, said

Model = Callable[[Sequence[Example], Batch], Outputs]
"""Examples and their batch -> what a model says of it (``engine.loop.Beside``)."""


@dataclass(frozen=True)
class Looked:
    """Float64 ``[N]`` over the tokens of all examples in turn; ``value`` None without a value head."""

    logprob: Floats
    entropy: Floats
    value: Floats | None


def look(model: Model, objective: Sampled, examples: Sequence[Example], *, tokens: int, device: str) -> Looked:
    """Ask ``model`` about ``examples``, at most ``tokens`` at once."""
    places = {id(example): number for number, example in enumerate(examples)}
    found: list[tuple[Floats, ...]] = [()] * len(examples)
    for piece in cut(examples, tokens):
        batch = objective.collate(piece).to(device)
        with torch.no_grad():
            outputs = model(piece, batch)
            now = said(outputs)
        columns = [now.logprob, now.entropy, *([] if outputs.value is None else [outputs.value])]
        arrays = [column.detach().double().cpu().numpy() for column in columns]
        edges = np.cumsum([example.targets for example in piece])[:-1]
        parts = zip(*(np.split(array, edges) for array in arrays), strict=True)
        for example, part in zip(piece, parts, strict=True):
            found[places[id(example)]] = part
    joined = [np.concatenate(column) for column in zip(*found, strict=True)]
    return Looked(joined[0], joined[1], joined[2] if len(joined) > 2 else None)
