"""SHIP or DO NOT SHIP: what was measured at a run's end against the thresholds of its recipe.

    forgetting            nats a token by which the base's own text (or the retention files) became less likely
    task.METRIC           a metric of the held-out rows          gain.METRIC   its change since before training
    retention.METRIC      a metric of the retention text         suite.SUITE.TASK   a task of a suite of the recipe
    validation_loss       the loss of the checkpoint that was kept

Suites with thresholds or checks of their own are lines too, whether or not the recipe has a gate. By default the value
decides; with ``sure: true`` the bound of its 95% interval does. What was not measured does not pass.

Which way a figure improves is the metric's own, as it was measured; it is never guessed. A name that no run could have
measured is told before training (``check_gate``), and by ``tunesmith gate`` with exit code 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError, did_you_mean
from tunesmith.evaluation.labels import KNOWN, LOWER_IS_BETTER, metric_names
from tunesmith.metrics import TABLE
from tunesmith.metrics.table import METRICS
from tunesmith.recipe.thresholds import LONE, Threshold, sure, thresholds
from tunesmith.run.folder import Run
from tunesmith.run.forgetting import table

if TYPE_CHECKING:
    from tunesmith.run.session import Session

LOWER = LOWER_IS_BETTER | {"nll", "perplexity", "forgetting", "validation_loss"}
HIGHER = (KNOWN | {*METRICS, "stopped", "accuracy"}) - LOWER
OF_TOKENS = ("nll", "perplexity", "accuracy", *METRICS, "stopped")
"""Metrics of held-out rows of a language model."""
Gate = Mapping[str, bool | float | str]


@dataclass(frozen=True)
class Figure:
    """One thing that was measured; bounds are None where it has no interval, and the direction where none is known."""

    value: float | None
    low: float | None = None
    high: float | None = None
    lower_is_better: bool | None = None


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

    ``{run, ship, sure, lines: [{name, value, low, high, needed, why, passed}], forgetting_table}``. Raises
    ``UserError``: ``run-not-finished``, ``no-gate`` (nothing is asked of it), ``bad-gate``, ``unknown-figure`` (it was
    not measured and was asked for now, or nothing of that name ever is), ``no-direction``.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    report = opened.summary()
    if not report.get("finished"):
        raise UserError(f"{opened.folder} is not finished", hint="Go on with --resume.", code="run-not-finished")
    wanted = {**opened.recipe.gate, **(overrides or {})}
    try:
        _refuse_unknown(report, wanted, asked_now=overrides or {})
        found = verdict(report, wanted)
    except ValueError as error:
        raise UserError(f"the gate cannot be read: {error}", code="bad-gate") from None
    if not found:
        raise UserError(
            f"the recipe of {opened.folder} sets no threshold",
            hint=f"Give some: tunesmith gate {opened.folder} task.accuracy=0.8 forgetting=0.3",
            code="no-gate",
        )
    return {"run": str(opened.folder), **found, "forgetting_table": table(report)}


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


def direction(name: str) -> bool | None:
    """Whether less of the metric ``name`` (or ``task/name``) is better; None where that is not known."""
    metric = name.rpartition("/")[2]
    if metric in LOWER:
        return True
    if metric in TABLE:
        return bool(TABLE.load(metric).lower_is_better)
    return False if metric in HIGHER else None


def figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """Everything a threshold may name, by name."""
    changes = report.get("changes", {})
    known = {**changes.get("answers", {}), **changes.get("task", {})}
    found = {f"task.{name}": _figure(one, name, known) for name, one in report.get("after", {}).items()}
    for metrics in (changes.get(part, {}) for part in ("task", "answers")):
        found |= {
            f"gain.{name}": _figure(one["change"], name, metrics) for name, one in metrics.items() if one.get("change")
        }
    kept = changes.get("retention", {})
    found |= {f"retention.{name}": _figure(one["after"], name, kept) for name, one in kept.items()}
    if report.get("forgetting"):
        found["forgetting"] = _figure(report["forgetting"], "forgetting", {})
    if report.get("validation_loss") is not None:
        found["validation_loss"] = Figure(report["validation_loss"], lower_is_better=True)
    for suite in report.get("suites", ()):
        lower = suite.get("lower_is_better", ())
        for name, one in suite["metrics"].items():
            found[f"suite.{suite['suite']}.{name}"] = Figure(
                one["value"], one["low"], one["high"], lower_is_better=name in lower
            )
    return found


def check_gate(session: Session) -> None:
    """Refuse a threshold on what the run of ``session`` cannot measure, before it is trained (``unknown-figure``)."""
    objective, gate = session.parts.objective, session.recipe.gate
    head = objective.head()
    own: Sequence[str] | None = None
    if head is not None and objective.judged == "labels":
        own = metric_names(head)
    elif head is None and objective.judged == "tokens":
        own = OF_TOKENS
    names = [one.name for one in thresholds(gate)] if own is not None else []
    known = [*LONE, *(f"{group}.{name}" for group in ("task", "gain") for name in own or ())]
    for name in names:
        if name.partition(".")[0] in ("task", "gain") and name not in known:
            raise _unknown(name, known)


def _refuse_unknown(report: Mapping[str, Any], wanted: Gate, *, asked_now: Gate) -> None:
    """Raise where a threshold names what was not measured, or a figure without a direction of its own."""
    measured = figures(report)
    for threshold in thresholds(wanted):
        name, found = threshold.name, measured.get(threshold.name)
        if found is None and (name in asked_now or (threshold.side is None and direction(_metric(name)) is None)):
            raise _unknown(name, list(measured))
        if found is not None and threshold.side is None and found.lower_is_better is None:
            raise UserError(
                f"which way '{name}' improves is not known",
                allowed=f"{name}='>= {threshold.bound:g}' or {name}='<= {threshold.bound:g}'",
                code="no-direction",
            )


def _unknown(name: str, known: Sequence[str]) -> UserError:
    return UserError(
        "the gate asks for a figure that is not measured",
        got=f"'{name}'",
        allowed=known or "nothing: the run measured nothing",
        hint=did_you_mean(name, known),
        code="unknown-figure",
    )


def _metric(name: str) -> str:
    """The metric in ``task.f1`` or ``gain.tone/f1``; of a suite's task nothing is known."""
    group, _, rest = name.partition(".")
    return group if not rest else "" if group == "suite" else rest


def _figure(estimate: Mapping[str, Any], name: str, known: Mapping[str, Any]) -> Figure:
    """A measured figure; which way it improves stands beside what was measured, else it is the metric's own."""
    higher = known.get(name, {}).get("higher_is_better")
    lower = direction(name) if higher is None else not higher
    return Figure(estimate["value"], estimate["low"], estimate["high"], lower_is_better=lower)


def _line(threshold: Threshold, measured: Mapping[str, Figure], strict: bool) -> Line:
    found = measured.get(threshold.name)
    lower = direction(_metric(threshold.name)) if found is None else found.lower_is_better
    side = threshold.side or {True: "<=", False: ">=", None: "?"}[lower]
    needed = f"{side} {threshold.bound:g}"
    if found is None or found.value is None:
        near = did_you_mean(threshold.name, measured) or f"Measured: {', '.join(measured) or 'nothing'}."
        return Line(threshold.name, None, None, None, needed, f"it was not measured. {near}")
    if side == "?":
        why = f"which way it improves is not known: write '<= {threshold.bound:g}' or '>= {threshold.bound:g}'"
        return Line(threshold.name, found.value, found.low, found.high, needed, why)
    bound = (found.high if side == "<=" else found.low) if strict else found.value
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
