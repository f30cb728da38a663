"""What a run says about itself: events, handed to sinks (jsonl, live display, trackers).

An event is a kind, the update it belongs to, and values that JSON can hold. The engine emits, nobody answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["start", "phase", "step", "rollout", "evaluation", "samples", "saved", "note", "end"]


@dataclass(frozen=True)
class Event:
    """``step`` counts optimizer updates that are complete (0 before the first)."""

    kind: Kind
    step: int
    values: Mapping[str, Any] = field(default_factory=dict)


Sink = Callable[[Event], None]


def fan_out(*sinks: Sink) -> Sink:
    """One sink that hands each event to all of ``sinks`` in order."""

    def emit(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return emit


def silent(event: Event) -> None:
    """The sink that listens to nothing."""
