"""SHIP or DO NOT SHIP: what was measured at a run's end against the thresholds of its recipe.

    forgetting            nats a token by which the base's own text (or the retention files) became less likely
    task.METRIC           a metric of the held-out rows          gain.METRIC   its change since before training
    retention.METRIC      a metric of the retention text         suite.SUITE.TASK   a task of a suite of the recipe
    validation_loss       the loss of the checkpoint that was kept

Suites with thresholds or checks of their own are lines too, whether or not the recipe has a gate. By default the value
decides; with ``sure: true`` the bound of its 95% interval does. What was not measured does not pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError, did_you_mean
from tunesmith.evaluation.labels import LOWER_IS_BETTER
from tunesmith.metrics import TABLE
from tunesmith.recipe.thresholds import Threshold, sure, thresholds
from tunesmith.run.folder import Run

LOWER = LOWER_IS_BETTER | {"nll", "forgetting", "validation_loss"}
Gate = Mapping[str, bool | float | str]


@dataclass(frozen=True)
class Figure:
    """One thing that was measured; bounds are None where it has no interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    lower_is_better: bool = False


@dataclass(frozen=True)
class Line:
    """One condition: what was measured, what is ``needed``, and in ``why`` what is wrong ("" where it passed)."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    needed: str
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As it stands in ``report.json``, with ``passed``."""
        return {**asdict(self), "passed": not self.why}


def gate(run: str | Path | Run, overrides: Gate | None = None) -> dict[str, Any]:
    """The verdict on a finished run by its recipe's gate, with ``overrides`` of single thresholds.

    ``{run, ship, sure, lines: [{name, value, low, high, needed, why, passed}]}``. Raises ``UserError``:
    ``run-not-finished``, ``no-gate`` (nothing is asked of it), ``bad-gate``.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    report = opened.summary()
    if not report.get("finished"):
        raise UserError(f"{opened.folder} is not finished", hint="Go on with --resume.", code="run-not-finished")
    wanted = {**opened.recipe.gate, **(overrides or {})}
    try:
        found = verdict(report, wanted)
    except ValueError as error:
        raise UserError(f"the gate cannot be read: {error}", code="bad-gate") from None
    if not found:
        raise UserError(
            f"the recipe of {opened.folder} sets no threshold",
            hint=f"Give some: tunesmith gate {opened.folder} task.accuracy=0.8 forgetting=0.3",
            code="no-gate",
        )
    return {"run": str(opened.folder), **found}


def as_report(report: Mapping[str, Any], gate: Gate) -> dict[str, Any]:
    """``{"gate": verdict}`` for ``report.json``; empty where nothing is asked of the run."""
    found = verdict(report, gate)
    return {"gate": found} if found else {}


def verdict(report: Mapping[str, Any], gate: Gate) -> dict[str, Any]:
    """``{ship, sure, lines}`` of a finished run's ``report``; empty where nothing is asked of it."""
    measured, strict = figures(report), sure(gate)
    lines = [_line(threshold, measured, strict) for threshold in thresholds(gate)]
    lines += [_of_suite(suite) for suite in report.get("suites", ()) if suite.get("bounds")]
    if not lines:
        return {}
    ship = all(not line.why for line in lines)
    return {"ship": ship, "sure": strict, "lines": [line.as_dict() for line in lines]}


def figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """Everything a threshold may name, by name."""
    found = {f"task.{name}": _figure(one, name) for name, one in report.get("after", {}).items()}
    for metrics in (report.get("changes", {}).get(part, {}) for part in ("task", "answers")):
        found |= {f"gain.{name}": _figure(one["change"], name) for name, one in metrics.items() if one.get("change")}
    kept = report.get("changes", {}).get("retention", {})
    found |= {f"retention.{name}": _figure(one["after"], name) for name, one in kept.items()}
    if report.get("forgetting"):
        found["forgetting"] = _figure(report["forgetting"], "forgetting")
    if report.get("validation_loss") is not None:
        found["validation_loss"] = Figure(report["validation_loss"], lower_is_better=True)
    for suite in report.get("suites", ()):
        lower = suite.get("lower_is_better", ())
        for name, one in suite["metrics"].items():
            found[f"suite.{suite['suite']}.{name}"] = Figure(
                one["value"], one["low"], one["high"], lower_is_better=name in lower
            )
    return found


def _figure(estimate: Mapping[str, Any], name: str) -> Figure:
    metric = name.rpartition("/")[2]
    lower = metric in LOWER or (metric in TABLE and TABLE.load(metric).lower_is_better)
    return Figure(estimate["value"], estimate["low"], estimate["high"], lower_is_better=lower)


def _line(threshold: Threshold, measured: Mapping[str, Figure], strict: bool) -> Line:
    found = measured.get(threshold.name)
    if found is None or found.value is None:
        side = threshold.side or ("<=" if threshold.name in LOWER else ">=")
        needed = f"{side} {threshold.bound:g}"
        near = did_you_mean(threshold.name, measured) or f"Measured: {', '.join(measured) or 'nothing'}."
        return Line(threshold.name, None, None, None, needed, f"it was not measured. {near}")
    side = threshold.side or ("<=" if found.lower_is_better else ">=")
    bound = (found.high if side == "<=" else found.low) if strict else found.value
    needed = f"{side} {threshold.bound:g}"
    return Line(threshold.name, found.value, found.low, found.high, needed, _why(bound, side, threshold.bound, strict))


def _why(value: float | None, side: str, bound: float, strict: bool) -> str:
    what = "the interval's bound" if strict else "it"
    if value is None:
        return "it has no interval, and `sure` asks for one"
    met = value <= bound if side == "<=" else value >= bound
    return "" if met else f"{what} is {value:.4g}"


def _of_suite(suite: Mapping[str, Any]) -> Line:
    failed: Sequence[str] = suite["failed"]
    passed = 1.0 - len(failed) / suite["bounds"]
    why = f"failed: {', '.join(failed)}" if failed else ""
    return Line(f"suite.{suite['suite']}", passed, None, None, f"all {suite['bounds']} thresholds and checks", why)
