"""Before against after: differences paired by unit.

A change counts as better or worse only where its 95% interval does not hold 0, and of fewer than ``FEWEST`` units
nothing is said: so few can all agree by chance (four out of four do so one time in eight).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tunesmith.evaluation.answers import AnswerReport
from tunesmith.evaluation.labels import LabelReport, lower_is_better
from tunesmith.evaluation.loss import LossReport
from tunesmith.evaluation.retention import forgetting
from tunesmith.evaluation.tasks import TasksReport
from tunesmith.evaluation.terms import TermReport
from tunesmith.metrics.intervals import Estimate, paired_difference, ratio_interval

Verdict = Literal["better", "worse", "moved", "same", "unknown"]
FEWEST = 5


@dataclass(frozen=True)
class Comparison:
    """One metric on one set of rows. ``change`` is after minus before, None where only one of them was measured, and
    for perplexity, whose logarithm (``nll``) has it. Where neither way is better it has ``moved``."""

    what: str
    metric: str
    before: Estimate | None
    after: Estimate
    change: Estimate | None
    higher_is_better: bool | None

    @property
    def verdict(self) -> Verdict | None:
        """Whether the change is an improvement, where there is one."""
        if self.change is None:
            return None
        if self.change.n < FEWEST:
            return "unknown"
        if self.change.low <= 0 <= self.change.high:
            return "same"
        if self.higher_is_better is None:
            return "moved"
        return "better" if (self.change.value > 0) == self.higher_is_better else "worse"

    def as_dict(self) -> dict[str, Any]:
        """``{before, after, change, verdict, higher_is_better}`` as JSON."""
        return {
            "before": None if self.before is None else self.before.as_dict(),
            "after": self.after.as_dict(),
            "change": None if self.change is None else self.change.as_dict(),
            "verdict": self.verdict,
            "higher_is_better": self.higher_is_better,
        }


def compare_loss(what: str, before: LossReport | None, after: LossReport) -> list[Comparison]:
    """Loss (on a retention set its change is the forgetting), perplexity and token accuracy."""
    nll = accuracy = None
    if before is not None:
        nll = forgetting(before, after)
        accuracy = ratio_interval(after.sums.hits - before.sums.hits, after.sums.tokens)
    changes = {"nll": nll, "perplexity": None, "accuracy": accuracy}
    old = {} if before is None else before.metrics()
    return [
        Comparison(what, name, old.get(name), value, changes[name], higher_is_better=name == "accuracy")
        for name, value in after.metrics().items()
    ]


def compare_labels(
    what: str, before: LabelReport | TasksReport | None, after: LabelReport | TasksReport
) -> list[Comparison]:
    """Loss and every metric of a task head, where ``before`` is of the same rows."""
    if before is not None and not after.sums.same_sequences(before.sums):
        before = None
    changes = _changed(before, after)
    old = {} if before is None else before.metrics()
    return [
        Comparison(what, name, old.get(name), value, changes.get(name), higher_is_better=not lower_is_better(name))
        for name, value in after.metrics().items()
    ]


def _changed(before: LabelReport | TasksReport | None, after: LabelReport | TasksReport) -> dict[str, Estimate]:
    if isinstance(before, LabelReport) and isinstance(after, LabelReport):
        return after.change_from(before)
    if isinstance(before, TasksReport) and isinstance(after, TasksReport):
        return after.change_from(before)
    return {}


def compare_terms(what: str, before: TermReport | None, after: TermReport) -> list[Comparison]:
    """Loss and every measurement of an objective that is judged by its own terms."""
    changes = {} if before is None else after.change_from(before)
    old = {} if before is None else before.metrics()
    return [
        Comparison(what, name, old.get(name), value, changes.get(name), higher_is_better=after.higher_is_better(name))
        for name, value in after.metrics().items()
    ]


def compare_answers(what: str, before: AnswerReport | None, after: AnswerReport) -> list[Comparison]:
    """Every answer metric. Raises ``ValueError`` where the two did not answer the same prompts."""
    if before is not None and [row.prompt for row in before.rows] != [row.prompt for row in after.rows]:
        raise ValueError("answers are compared on the same prompts before and after")
    found = []
    for name, value in after.scores.items():
        change = None
        if before is not None:
            change = paired_difference(
                [row.scores[name] for row in before.rows], [row.scores[name] for row in after.rows]
            )
        old = None if before is None else before.scores[name]
        found.append(Comparison(what, name, old, value, change, higher_is_better=True))
    return found


def as_dict(comparisons: Sequence[Comparison]) -> dict[str, dict[str, Any]]:
    """``{what: {metric: {before, after, change, verdict}}}``."""
    found: dict[str, dict[str, Any]] = {}
    for comparison in comparisons:
        found.setdefault(comparison.what, {})[comparison.metric] = comparison.as_dict()
    return found
