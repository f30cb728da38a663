"""Suites: tasks and checks in a YAML file that any model can be measured on, with thresholds that say what is enough.

    name: support
    tasks:
      - name: capitals
        rows: capitals.jsonl        # relative to the suite file, or rows written in place
        metric: exact_match         # any of `tunesmith metrics`, with its options: {name: bleu, tokenize: zh}
        threshold: 0.8              # at least this; of metrics that are better when lower (perplexity) at most
    checks:                         # single prompts whose answers must be right: a regression suite
      - {prompt: What is the capital of France?, contains: Paris}

How a suite is measured is in ``suite_run``; reading one needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tunesmith.errors import UserError, did_you_mean
from tunesmith.evaluation.checks import Check
from tunesmith.evaluation.labels import KNOWN, lower_is_better
from tunesmith.metrics import TABLE
from tunesmith.metrics.base import Figure, Metric
from tunesmith.recipe.base import Config
from tunesmith.recipe.load import validated
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import Part
from tunesmith.recipe.yaml12 import read_yaml

CHECKS = "checks"
"""The name under which the share of passed checks stands among the tasks."""
Row = Mapping[str, Any]


class Task(Config):
    """One thing to measure."""

    name: str = Field(min_length=1)
    """Name of the task in results; unique in its suite."""
    rows: str | list[dict[str, Any]]
    """A file of rows (relative to the suite file), or the rows themselves."""
    metric: str | Part = "exact_match"
    """A metric of `tunesmith metrics` by its name, or with options: `{name: pass_at_k, k: 5}`; of a model with a task
    head any metric of its objective (`accuracy`, `macro_f1`, `pearson` …; of several tasks `name/accuracy`)."""
    threshold: float | None = None
    """What passes: at least this value; for metrics that are better when lower (`perplexity`, `length` …) at most."""
    at_least: float | None = None
    """The same, whatever the metric: no value below it passes."""
    at_most: float | None = None
    """The same, whatever the metric: no value above it passes."""
    references: str = "references"
    """Column with a list of right answers, of which the best match counts; by default, or where a row lacks it, the
    row's answer."""
    samples: Annotated[int, Field(gt=0)] = 1
    """Answers to each prompt; more than one needs a temperature."""
    temperature: Annotated[float, Field(ge=0.0)] = 0.0
    """How freely answers are drawn; 0 takes the likeliest token."""
    max_new_tokens: Annotated[int, Field(gt=0)] | None = None
    """Longest answer in tokens; by default the model's recipe decides (`evaluate.max_new_tokens`, 64)."""
    tags: list[str] = []
    """Words that `tunesmith eval --tag` chooses tasks by."""

    @property
    def part(self) -> Part:
        """The metric with its options."""
        return Part(name=self.metric) if isinstance(self.metric, str) else self.metric

    @property
    def figure(self) -> Figure | None:
        """The metric's config; None where only a task head knows it. ``UserError`` for a wrong option."""
        return build(TABLE, self.part) if self.part.name in TABLE else None

    @property
    def bounded(self) -> bool:
        """Whether there is a threshold."""
        return any(bound is not None for bound in (self.threshold, self.at_least, self.at_most))

    @property
    def lower_is_better(self) -> bool:
        """Which way the metric improves."""
        figure = self.figure
        return figure.lower_is_better if figure else lower_is_better(self.part.name)

    def passes(self, value: float) -> bool:
        """Whether ``value`` meets the thresholds (always, where there are none); not a number meets none."""
        low = self.lower_is_better
        least = [self.at_least, None if low else self.threshold]
        most = [self.at_most, self.threshold if low else None]
        return all(bound is None or value >= bound for bound in least) and all(
            bound is None or value <= bound for bound in most
        )


class Suite(Config):
    """A named list of tasks and checks."""

    name: str = "suite"
    """Name of the suite."""
    tasks: list[Task] = []
    """What is measured."""
    checks: list[Check] = []
    """Prompts with what their answers must be like."""

    def tagged(self, tags: Sequence[str]) -> Suite:
        """The tasks and checks that have one of ``tags`` (all, where none is given); ``UserError``: ``unknown-tag``."""
        if not tags:
            return self
        known = sorted(
            {tag for task in self.tasks for tag in task.tags} | {tag for one in self.checks for tag in one.tags}
        )
        for tag in tags:
            if tag not in known:
                raise UserError(
                    f"no task of the suite '{self.name}' has the tag '{tag}'",
                    allowed=known or "none: the suite has no tags",
                    hint=did_you_mean(tag, known),
                    code="unknown-tag",
                )
        wanted = set(tags)
        return self.model_copy(
            update={
                "tasks": [task for task in self.tasks if wanted & set(task.tags)],
                "checks": [check for check in self.checks if wanted & set(check.tags)],
            }
        )


def load_suite(path: Path) -> Suite:
    """The suite in ``path``, row files made absolute.

    Raises ``UserError``: ``missing-suite``, ``not-a-suite``, ``bad-yaml``, ``empty-suite``, ``unknown-metric``,
    ``duplicate-task``, ``missing-rows``, ``missing-extra``, ``bad-samples`` and those of the option checks
    (``unknown-key`` with the closest key …).
    """
    try:
        values = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(
            f"there is no suite at {path}",
            hint="A suite is a YAML file with a list of `tasks:` or `checks:`.",
            code="missing-suite",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the suite {path}: {error}", code="not-a-suite") from None
    if values is not None and not isinstance(values, dict):
        raise UserError(
            f"{path} is not a suite",
            got=f"a {type(values).__name__}",
            allowed="`name:`, `tasks:` and `checks:`",
            code="not-a-suite",
        )
    suite = validated(Suite, {"name": path.stem, **(values or {})})
    if not suite.tasks and not suite.checks:
        raise UserError(
            f"the suite {path} has no task",
            hint="Add one under `tasks:`, such as {name: capitals, rows: capitals.jsonl, metric: exact_match}.",
            code="empty-suite",
        )
    tasks = [task.model_copy(update={"rows": _located(task, path.parent)}) for task in suite.tasks]
    names: set[str] = set()
    for task in tasks:
        _check(task, path)
        if task.name in names or (task.name == CHECKS and suite.checks):
            raise UserError(
                f"two tasks of {path} are named '{task.name}'", hint="Results go by name.", code="duplicate-task"
            )
        names.add(task.name)
    return suite.model_copy(update={"tasks": tasks})


def _located(task: Task, folder: Path) -> str | list[dict[str, Any]]:
    return str((folder / Path(task.rows).expanduser()).resolve()) if isinstance(task.rows, str) else task.rows


def _check(task: Task, path: Path) -> None:
    known = sorted({*TABLE, *KNOWN})
    name = task.part.name
    if name not in TABLE and name.rpartition("/")[2] not in KNOWN:
        raise UserError(
            f"unknown metric of the task '{task.name}' in {path}",
            got=f"'{name}'",
            allowed=known,
            hint=did_you_mean(name, known),
            code="unknown-metric",
        )
    figure = task.figure
    if figure is not None:
        figure.ready()
    _check_samples(task, figure.answers_needed() if isinstance(figure, Metric) else 1)
    if isinstance(task.rows, str) and not Path(task.rows).is_file():
        raise UserError(f"the rows of the task '{task.name}' are missing: {task.rows}", code="missing-rows")


def _check_samples(task: Task, needed: int) -> None:
    if task.samples < needed:
        raise UserError(
            f"the task '{task.name}' needs more answers to each prompt than it asks for",
            got=f"samples: {task.samples}",
            allowed=f"samples: {needed} or more",
            code="bad-samples",
        )
    if task.samples > 1 and task.temperature == 0:
        raise UserError(
            f"the task '{task.name}' draws {task.samples} answers at temperature 0, which are all the same",
            hint="Set `temperature:` above 0, such as 0.8.",
            code="bad-samples",
        )
