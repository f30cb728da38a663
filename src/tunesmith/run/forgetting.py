"""The forgetting table: what a run gained on its task beside what it lost of what the base could do.

    about       task        the held-out rows, and suites of the task
                retention   the base's own text (or the retention files), and the suite ``tunesmith:retention``
                behaviour   suites about safety, robustness, instructions
    change      after minus before, paired by row, with a 95% interval
    verdict     better, worse, moved (neither way is better), same (the interval holds 0), unknown (too few rows)

``task_gain`` is the change of one figure of the task, ``retention_loss`` the mean loss over the retention tasks that
are shares of rows: of independent tasks, so its half-width is ``√(Σ half²) / k``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Estimate = Mapping[str, Any]
ABOUT = ("task", "retention", "behaviour")
KNOWN_TEXT = "known text"
"""What the text is called that shows what the base knew: its own, or the retention files."""
SCORES = (
    ("answers", "f1"),
    ("answers", "exact_match"),
    ("task", "macro_f1"),
    ("task", "entity_f1"),
    ("task", "f1"),
    ("task", "micro_f1"),
    ("task", "accuracy"),
    ("task", "spearman"),
    ("task", "ndcg@10"),
    ("task", "reward"),
    ("task", "nll"),
    ("task", "loss"),
)
"""The figure that stands for the task: the first of these that was measured before and after."""


@dataclass(frozen=True)
class Line:
    """One figure before and after; ``higher_is_better`` says which way it improves."""

    about: str
    what: str
    metric: str
    before: Estimate
    after: Estimate
    change: Estimate
    verdict: str | None
    higher_is_better: bool | None

    def as_dict(self) -> dict[str, Any]:
        """As it stands in ``report.json``."""
        return dict(vars(self))


def table(report: Mapping[str, Any]) -> dict[str, Any]:
    """``{lines: [...], task_gain, retention_loss}`` of a finished run's report, from what it holds already.

    ``task_gain`` is ``{what, metric, change, verdict}`` or None; ``retention_loss`` an estimate or None, positive where
    something was lost.
    """
    lines = sorted(_lines(report), key=lambda line: ABOUT.index(line.about))
    gain = _gain(lines)
    told = None if gain is None else {name: getattr(gain, name) for name in ("what", "metric", "change", "verdict")}
    return {
        "lines": [line.as_dict() for line in lines],
        "task_gain": told,
        "retention_loss": _loss(lines),
    }


def _lines(report: Mapping[str, Any]) -> list[Line]:
    found = []
    for what, metrics in report.get("changes", {}).items():
        about, told = ("retention", KNOWN_TEXT) if what == "retention" else ("task", what)
        found += [line for name, one in metrics.items() if (line := _line(about, told, name, one)) is not None]
    for suite in report.get("suites", ()):
        changes = suite.get("changes", {})
        about = suite.get("about", "task")
        found += [
            line for name, one in changes.items() if (line := _line(about, suite["suite"], name, one)) is not None
        ]
    return found


def _line(about: str, what: str, name: str, found: Mapping[str, Any]) -> Line | None:
    if not found.get("change") or not found.get("before"):
        return None
    before, after, change, verdict = (found[key] for key in ("before", "after", "change", "verdict"))
    higher = found.get("higher_is_better", name not in ("nll", "loss"))
    return Line(about, what, name, before, after, change, verdict, higher)


def _gain(lines: Sequence[Line]) -> Line | None:
    own = {(line.what, line.metric): line for line in lines if line.about == "task"}
    named = next((own[key] for key in SCORES if key in own), None)
    return named or next((line for line in own.values() if line.what not in ("task", "answers")), None)


def _loss(lines: Sequence[Line]) -> dict[str, Any] | None:
    """The mean loss over retention tasks that are shares: higher is better, and no value outside 0 to 1."""
    tasks = [line for line in lines if line.about == "retention" and line.what != KNOWN_TEXT and _is_share(line)]
    if not tasks:
        return None
    lost = [-line.change["value"] for line in tasks]
    halves = [(line.change["high"] - line.change["low"]) / 2 for line in tasks if line.change["low"] is not None]
    value = math.fsum(lost) / len(lost)
    rows = sum(line.change["n"] for line in tasks)
    if len(halves) < len(tasks):
        return {"value": value, "low": None, "high": None, "n": rows}
    half = math.sqrt(math.fsum(one**2 for one in halves)) / len(tasks)
    return {"value": value, "low": value - half, "high": value + half, "n": rows}


def _is_share(line: Line) -> bool:
    values = [line.before.get("value"), line.after.get("value")]
    return bool(line.higher_is_better) and all(value is not None and 0.0 <= value <= 1.0 for value in values)
