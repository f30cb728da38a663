"""The thresholds of a gate, as a recipe writes them:

    gate: {task.f1: 0.6, forgetting: 0.3, task.length: "<= 40", sure: true}

A number is the least value that ships, or the most for metrics that are better when lower; ``<=`` and ``>=`` say it
outright. ``sure`` asks it of the bound of the 95% interval instead of the value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tunesmith.errors import did_you_mean

SURE = "sure"
LONE = ("forgetting", "validation_loss")
GROUPS = ("task", "gain", "retention", "suite")
_SIDED = re.compile(r"\s*(<=|>=)\s*(\S+)\s*")


@dataclass(frozen=True)
class Threshold:
    """What ``name`` must reach; ``side`` None leaves the direction to the metric."""

    name: str
    bound: float
    side: Literal["<=", ">="] | None = None


def thresholds(gate: Mapping[str, bool | float | str]) -> list[Threshold]:
    """The thresholds in their order. Raises ``ValueError`` naming the first that cannot be meant."""
    return [_threshold(name, value) for name, value in gate.items() if name != SURE]


def sure(gate: Mapping[str, bool | float | str]) -> bool:
    """Whether bounds of intervals must meet the thresholds; ``ValueError`` where it is neither true nor false."""
    value = gate.get(SURE, False)
    if not isinstance(value, bool):
        raise ValueError(f"'{SURE}' is true or false, got {value}")  # noqa: TRY004 - as all mistakes in a gate
    return value


def _threshold(name: str, value: bool | float | str) -> Threshold:
    group, _, rest = name.partition(".")
    if name not in LONE and (group not in GROUPS or not rest):
        near = did_you_mean(name, (*LONE, SURE)) or did_you_mean(group, GROUPS) or ""
        allowed = "forgetting, validation_loss, task.METRIC, gain.METRIC, retention.METRIC, suite.SUITE.TASK, sure"
        raise ValueError(f"'{name}' names nothing that can be measured; allowed: {allowed}. {near}".rstrip())
    if isinstance(value, bool):
        raise ValueError(f"the threshold of '{name}' is a number, got {value}")  # noqa: TRY004
    if not isinstance(value, str):
        return Threshold(name, float(value))
    found = _SIDED.fullmatch(value)
    try:
        bound = float(found[2]) if found else None
    except ValueError:
        bound = None
    if found is None or bound is None:
        raise ValueError(f"the threshold of '{name}' is a number, or such as '<= 0.3', got '{value}'")
    return Threshold(name, bound, "<=" if found[1] == "<=" else ">=")
