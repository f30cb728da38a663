"""Suites: tasks and checks in a YAML file that any model can be measured on, with thresholds that say what is enough.

    name: support
    about: task                     # or retention (what the base could do), or behaviour
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

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tunesmith.errors import UserError, did_you_mean
from tunesmith.evaluation.checks import Check
from tunesmith.evaluation.labels import KNOWN
from tunesmith.evaluation.suite_task import OF_RUN, Task
from tunesmith.evaluation.variations import NAMES as VARIATIONS
from tunesmith.metrics import TABLE
from tunesmith.metrics.base import Figure, Metric
from tunesmith.metrics.likelihood import LikelihoodMetric
from tunesmith.recipe.base import Config
from tunesmith.recipe.load import validated
from tunesmith.recipe.yaml12 import read_yaml

CHECKS = "checks"
"""The name under which the share of passed checks stands among the tasks."""
ROWS_OF_RUN = ("training", "held-out", "personal")
PLACE = "{prompt}"
Row = Mapping[str, Any]


class Suite(Config):
    """A named list of tasks and checks."""

    name: str = "suite"
    """Name of the suite."""
    about: Literal["task", "retention", "behaviour"] = "task"
    """What it speaks of, for the table of what was gained and what was forgotten: the task that is trained, what the
    base could do before, or how the model behaves."""
    tasks: list[Task] = []
    """What is measured."""
    checks: list[Check] = []
    """Prompts with what their answers must be like."""

    def varied(self, variations: Sequence[str]) -> Suite:
        """Every task with these variations besides its own; ``UserError``: ``unknown-variation``."""
        for name in variations:
            if name not in VARIATIONS:
                raise UserError(
                    "unknown variation",
                    got=f"'{name}'",
                    allowed=list(VARIATIONS),
                    hint=did_you_mean(name, VARIATIONS),
                    code="unknown-variation",
                )
        tasks = [
            task.model_copy(update={"vary": list(dict.fromkeys([*task.vary, *variations]))}) for task in self.tasks
        ]
        return self.model_copy(update={"tasks": tasks})

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
    suite = _validated({"name": path.stem, **(values or {})}, path)
    if not suite.tasks and not suite.checks:
        raise UserError(
            f"the suite {path} has no task",
            hint="Add one under `tasks:`, such as {name: capitals, rows: capitals.jsonl, metric: exact_match}.",
            code="empty-suite",
        )
    tasks = [_located(task, path.parent) for task in suite.tasks]
    names: set[str] = set()
    for task in tasks:
        _check(task, path)
        if task.name in names or (task.name == CHECKS and suite.checks):
            raise UserError(
                f"two tasks of {path} are named '{task.name}'", hint="Results go by name.", code="duplicate-task"
            )
        names.add(task.name)
    return suite.model_copy(update={"tasks": tasks})


def _validated(values: dict[str, Any], path: Path) -> Suite:
    """The suite; what is wrong with a task or check is told by its name, which a place in a list does not say."""
    try:
        return validated(Suite, values)
    except UserError as error:
        found = re.search(r"\b(tasks|checks)\.(\d+)\.?", error.what)
        if found is None:
            raise UserError(
                f"{error.what} in {path}", got=error.got, allowed=error.allowed, hint=error.hint, code=error.code
            ) from None
        listed = values[found[1]][int(found[2])]
        name = listed.get("name") or listed.get("prompt") if isinstance(listed, dict) else None
        where = f"the {found[1][:-1]} '{name}'" if name else f"{found[1]} {int(found[2]) + 1}"
        what = error.what.replace(found[0], "").strip()
        raise UserError(
            f"{what}, in {where} of {path}", got=error.got, allowed=error.allowed, hint=error.hint, code=error.code
        ) from None


def _located(task: Task, folder: Path) -> Task:
    """The task with its files made absolute from ``folder``."""
    named = {"rows": task.rows if task.of_run is None else None, "examples": task.examples}
    found = {
        name: str((folder / Path(one).expanduser()).resolve()) for name, one in named.items() if isinstance(one, str)
    }
    return task.model_copy(update=found)


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
    figure = _figure(task, path)
    if figure is not None:
        figure.ready()
    _check_samples(task, figure.answers_needed() if isinstance(figure, Metric) else 1)
    _check_rows(task)
    if isinstance(figure, LikelihoodMetric) and task.samples > 1:
        raise UserError(
            f"the task '{task.name}' draws {task.samples} answers, and its metric {name} generates none",
            hint="Leave `samples` out.",
            code="bad-samples",
        )


def _figure(task: Task, path: Path) -> Figure | None:
    """The task's metric; what is wrong with its options is told with the task's name."""
    try:
        return task.figure
    except UserError as error:
        what = f"{error.what}, in the task '{task.name}' of {path}"
        raise UserError(what, got=error.got, allowed=error.allowed, hint=error.hint, code=error.code) from None


def _check_rows(task: Task) -> None:
    files = [one for one in (task.rows, task.examples) if isinstance(one, str)]
    for file in files:
        if task.of_run is None and not Path(file).exists():
            raise UserError(f"the rows of the task '{task.name}' are missing: {file}", code="missing-rows")
    if task.of_run is not None and task.of_run not in ROWS_OF_RUN:
        raise UserError(
            f"the task '{task.name}' asks for rows of a run that are not known",
            got=f"'{task.rows}'",
            allowed=[f"{OF_RUN}{name}" for name in ROWS_OF_RUN],
            hint=did_you_mean(task.of_run, ROWS_OF_RUN),
            code="unknown-rows",
        )
    for text in task.wrap:
        if PLACE not in text:
            raise UserError(
                f"a text in `wrap` of the task '{task.name}' has no place for the prompt",
                got=f"'{text[:80]}'",
                allowed=f"a text with {PLACE} in it",
                code="bad-wrap",
            )
    if task.shots and not task.examples:
        raise UserError(
            f"the task '{task.name}' asks for {task.shots} solved rows and names no `examples`",
            hint="Name a file of rows: examples: dev.jsonl.",
            code="missing-rows",
        )


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
