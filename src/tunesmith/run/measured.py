"""What an update did to memory and to the weights and what it cost, added to its event: cheap measurements beside the
engine.

    update_ratio = ||w_t - w_{t-1}|| / ||w_t||     every ``EVERY`` updates, on about ``ELEMENTS`` evenly spread weights

About 1e-3 is usual; far above, the rate is too high for the weights' size, far below, little is learned. A sample keeps
the cost of a large model's ratio at that of a small one's: no second copy of all weights is held. Energy and processor
time are those of updates alone: evaluations and checkpoints between them are no part of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from tunesmith.events import Event, Sink
from tunesmith.run.energy import Meter, meter

EVERY = 10
ELEMENTS = 100_000
BETWEEN = ("start", "evaluation", "saved")
"""What is over when these are told is no part of an update."""
_STATM = Path("/proc/self/statm")


def measured(
    emit: Sink, values: Mapping[str, torch.Tensor], *, device: str, meter: Callable[[str], Meter] = meter
) -> Sink:
    """``emit`` with ``memory`` (bytes held now), ``cpu_seconds`` and, where the machine tells, ``joules`` in every
    step, and ``update_ratio`` of the trained ``values`` in some.

    The first ratio is that of update ``EVERY``.
    """
    before: list[torch.Tensor] = []
    cost = meter(device)

    def add(event: Event) -> None:
        nonlocal before
        values_now = event.values
        if event.kind == "step":
            more = {"memory": held(device)}
            if before:
                more["update_ratio"] = ratio(before, sample(values))
                before = []
            known = {name: one for name, one in more.items() if one}
            spent = {name: round(one, 4) for name, one in asdict(cost.lap()).items() if one is not None}
            values_now = {**event.values, **known, **spent}
        # a resumed run starts with what it had when it stopped
        if event.kind in ("start", "step") and event.step % EVERY == EVERY - 1:
            before = sample(values)
        emit(Event(event.kind, event.step, values_now))
        if event.kind in BETWEEN:
            cost.lap()

    return add


def sample(values: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """Copies of evenly spread elements of every tensor, about ``ELEMENTS`` in all."""
    stride = max(1, sum(value.numel() for value in values.values()) // ELEMENTS)
    return [value.detach().flatten()[::stride].clone() for value in values.values()]


def ratio(before: list[torch.Tensor], after: list[torch.Tensor]) -> float:
    """Size of the difference over the size of ``after``; 0 where all weights are zero."""
    moved = sum(float((new - old).square().sum()) for old, new in zip(before, after, strict=True))
    size = sum(float(new.square().sum()) for new in after)
    return float((moved / size) ** 0.5) if size else 0.0


def held(device: str) -> float:
    """Bytes: what tensors hold on a GPU; what the process has resident on a CPU (0 where that is not told)."""
    if device.startswith("cuda"):
        return float(torch.cuda.memory_allocated(device))
    try:
        return float(int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except OSError:
        return 0.0
