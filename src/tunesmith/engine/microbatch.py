"""Cutting an update into micro-batches by tokens: changes time and memory, never the result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tunesmith.contracts.batch import Example

CPU_ACTIVATION_BYTES = 512 * 2**20
SMALLEST, LARGEST = 1024, 32768


def cut(examples: Sequence[Example], budget: int, *, at_least: int = 1, rows_ahead: int = 0) -> list[list[Example]]:
    """Micro-batches of at most ``budget`` rows each (a longer example stands alone), similar lengths together.

    An example has a row for each token, and ``rows_ahead`` in front of them that a method puts there. Sorted by length,
    so that attention pads little. The budget is lowered so that ``at_least`` processes have a part.
    """
    ordered = sorted(examples, key=lambda example: (-len(example), example.row))
    batches: list[list[Example]] = []
    rows = sum(map(len, examples)) + rows_ahead * len(examples)
    budget = min(budget, math.ceil(rows / at_least))
    room = 0
    for example in ordered:
        if not batches or len(example) + rows_ahead > room:
            batches.append([])
            room = budget
        batches[-1].append(example)
        room -= len(example) + rows_ahead
    return batches


def tokens_for(config: Any, *, longest: int, device: str, total_memory: int, half: bool) -> int:
    """Tokens computed at once, from the model's shape and the hardware's *total* memory, so that it never varies.

    About 31 hidden-sized copies are kept a layer and token (eager transformers with adapters); a CPU gets
    512 MiB of them, because larger micro-batches are no faster there, a GPU a quarter of its memory.
    """
    text = config.get_text_config()
    layers = int(getattr(text, "num_hidden_layers", 12))
    width = int(getattr(text, "hidden_size", 768))
    per_token = 31 * width * layers * (2 if half else 4)
    room = CPU_ACTIVATION_BYTES if device == "cpu" else total_memory // 4
    return max(longest, min(LARGEST, max(SMALLEST, room // per_token)))
