"""``tunesmith compare``: any number of runs side by side, paired with the first, and which of them are worth having.

A run is worth having (Pareto) where no other is at least as good in score, forgetting, memory and speed and better in
one of them. A dimension that some run was not measured in is left out for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError, did_you_mean
from tunesmith.evaluation.comparison import Comparison
from tunesmith.evaluation.suite_run import changes as suite_changes
from tunesmith.evaluation.suite_run import estimate
from tunesmith.run.folder import Run
from tunesmith.run.forgetting import SCORES
from tunesmith.run.judge import Marks, compared
from tunesmith.run.suites import tasks_of
from tunesmith.run.verdict import direction

DIMENSIONS = ("score", "forgetting", "memory", "speed")
SMALLER = ("forgetting", "memory")
"""Dimensions of which less is better; of the score it is its metric's."""


def compare(runs: Sequence[str | Path], *, score: str | None = None) -> dict[str, Any]:
    """Metrics of runs side by side, and each later run's change against the first where both saw the same rows.

    Returns ``{first, same_rows, runs: {run: {metric: estimate}}, differences: {run: {metric: estimate}},
    higher_is_better: {metric: bool | None}, score, trade: {run: {score, forgetting, memory, speed, pareto}}}``; a
    difference is None where the two were not measured on the same rows, a direction where neither is better. ``score``
    names the metric that the trade-off is about. Raises ``UserError``: ``too-few-runs``, ``no-result``,
    ``unknown-figure``.
    """
    if len(runs) < 2:
        raise UserError("compare needs at least two runs", got=len(runs), code="too-few-runs")
    opened = [Run.open(path) for path in runs]
    names = [str(run.folder) for run in opened]
    if len(set(names)) < len(names):
        raise UserError("a run is named twice", got=", ".join(names), code="too-few-runs")
    results = [_marks(run) for run in opened]
    better: dict[str, bool | None] = {}
    values = {name: _values(run, marks) for name, run, marks in zip(names, opened, results, strict=True)}
    differences = {
        name: _changes(compared(results[0], marks), better) | _suite_changes(opened[0], run, better)
        for name, run, marks in zip(names[1:], opened[1:], results[1:], strict=True)
    }
    metric = _score(score, values)
    return {
        "first": names[0],
        "same_rows": all(change is not None for found in differences.values() for change in found.values()),
        "runs": values,
        "differences": differences,
        "higher_is_better": better,
        "score": metric,
        "trade": _trade(
            {name: _costs(run, values[name], metric) for name, run in zip(names, opened, strict=True)}, metric
        ),
    }


def _marks(run: Run) -> Marks:
    marks = run.last_stage.read("eval/after.json")
    if not marks:
        raise UserError(f"{run.folder} has no evaluation yet", hint="Finish it with --resume.", code="no-result")
    return Marks.from_dict(marks)


def _values(run: Run, marks: Marks) -> dict[str, Any]:
    """Every metric by name, those of suites as ``suite NAME TASK``."""
    alone = compared(Marks(None, None, None), marks)
    found = {f"{item.what} {item.metric}": item.after.as_dict() for item in alone}
    for suite in run.last_stage.summary().get("suites", ()):
        found |= {f"suite {suite['suite']} {name}": value for name, value in suite["metrics"].items()}
    return found


def _changes(comparisons: Sequence[Comparison], better: dict[str, bool | None]) -> dict[str, Any]:
    """Change by metric; where the rows differ there is no paired change, and None says so. ``better`` is filled in."""
    found: dict[str, Any] = {}
    for item in comparisons:
        if item.metric != "perplexity":
            name = f"{item.what} {item.metric}"
            found[name] = None if item.change is None else item.change.as_dict()
            better[name] = item.higher_is_better
    return found


def _suite_changes(first: Run, later: Run, better: dict[str, bool | None]) -> dict[str, Any]:
    """Paired changes of the suites that both were measured on."""
    found: dict[str, Any] = {}
    for name in later.last_stage.recipe.evaluate.suites:
        try:
            suite = tasks_of(name)
        except UserError:  # the file is gone: its values stand there without a difference
            continue
        one, other = (run.last_stage.read(f"eval/suite-{suite.name}.json") for run in (first, later))
        if one.get("parts") is None or other.get("parts") is None:
            continue
        named = [replace(item, what=f"suite {suite.name}") for item in suite_changes(suite, one, other)]
        found |= _changes(named, better)
    return found


def _score(asked: str | None, values: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The metric that stands for how good a run is: the one asked for, else the first that all have."""
    shared = [name for name in next(iter(values.values())) if all(name in found for found in values.values())]
    if asked is None:
        return next((f"{what} {name}" for what, name in SCORES if f"{what} {name}" in shared), None)
    wanted = asked if asked in shared else asked.replace(".", " ")
    if wanted not in shared:
        raise UserError(
            "not every run was measured by this score",
            got=f"'{asked}'",
            allowed=shared,
            hint=did_you_mean(wanted, shared),
            code="unknown-figure",
        )
    return wanted


def _costs(run: Run, values: Mapping[str, Any], metric: str | None) -> dict[str, float | None]:
    summary = run.last_stage.summary()
    return {
        "score": None if metric is None else estimate(values[metric]).value,
        "forgetting": (summary.get("forgetting") or {}).get("value"),
        "memory": summary.get("peak_memory_bytes"),
        "speed": summary.get("tokens_per_second"),
    }


def _trade(costs: Mapping[str, Mapping[str, float | None]], metric: str | None) -> dict[str, Any]:
    """The dimensions of every run, and whether it is worth having."""
    measured = [one for one in DIMENSIONS if all(found[one] is not None for found in costs.values())]
    smaller = {*SMALLER, *(["score"] if metric and direction(metric.rpartition(" ")[2]) else [])}
    places = {
        name: tuple(-(found[one] or 0.0) if one in smaller else (found[one] or 0.0) for one in measured)
        for name, found in costs.items()
    }
    return {name: {**found, "pareto": _worth(name, places)} for name, found in costs.items()}


def _worth(name: str, places: Mapping[str, tuple[float, ...]]) -> bool:
    own = places[name]
    others = (place for other, place in places.items() if other != name)
    return not any(all(one >= mine for one, mine in zip(place, own, strict=True)) and place != own for place in others)
