"""Tasks of EleutherAI's evaluation harness (the ``lm-eval`` extra) on a run or a model, with our intervals.

The harness fetches its rows from the hub unless they are in its cache, and asks as it always does; the per-row numbers
that it logs are redrawn for intervals. Rows in files need no harness: ``tunesmith eval --benchmark NAME=FILE``.

The trap: the harness calls the transformers model itself, so that the model is driven padded while it runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError, did_you_mean
from tunesmith.metrics.intervals import mean_interval
from tunesmith.run.session import Session
from tunesmith.run.use import open_any


def by_harness(
    run_or_model: str,
    tasks: Sequence[str],
    *,
    folder: str | None = None,
    limit: int | None = None,
    shots: int | None = None,
    template: str | None = None,
) -> dict[str, Any]:
    """``{model, suite, metrics: {task/number: {value, low, high, n}}, passed, failed, notes, answers}`` of ``tasks``.

    ``folder`` holds further tasks, ``shots`` overrides how many solved rows a task shows, ``template`` asks in that
    chat template. Raises ``UserError``: ``missing-extra``, ``unknown-benchmark``, ``no-rows``.
    """
    manager = _manager(folder, tasks)
    session = open_any(run_or_model, template=template)
    if session.task is not None:
        raise UserError(
            "the harness asks language models, and this model has a task head",
            hint="Measure it by a suite with labelled rows.",
            code="unknown-metric",
        )
    found = _evaluated(session, manager, list(tasks), limit, shots, chat=template is not None)
    metrics = {}
    for task, rows in found["samples"].items():
        for name, values in _numbers(rows):
            metrics[f"{task}/{name}"] = mean_interval(values).as_dict()
    return {
        "model": str(run_or_model),
        "suite": "lm-eval",
        "metrics": metrics,
        "passed": True,
        "failed": [],
        "notes": [],
        "answers": {},
    }


def _manager(folder: str | None, tasks: Sequence[str]) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise UserError(
            "tasks of the harness need lm-eval, which is not installed",
            hint="Install it: pip install 'tunesmith[lm-eval]'. Rows in files need none: --benchmark NAME=FILE.",
            code="missing-extra",
        ) from None
    if folder is not None and not Path(folder).is_dir():
        raise UserError(f"there is no folder of tasks at {folder}", code="missing-rows")
    manager = TaskManager(include_path=folder)
    known = set(manager.all_tasks)
    for task in tasks:
        if task not in known:
            raise UserError(
                "the harness has no such task",
                got=f"'{task}'",
                allowed=f"one of its {len(known):,} tasks and groups",
                hint=did_you_mean(task, known),
                code="unknown-benchmark",
            )
    return manager


def _evaluated(
    session: Session, manager: Any, tasks: list[str], limit: int | None, shots: int | None, *, chat: bool
) -> Mapping[str, Any]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    usual = session.policy.driver
    session.policy.drive("padded")
    if chat:
        session.tokenizer.chat_template = session.encoder.template
    model = HFLM(pretrained=session.model, tokenizer=session.tokenizer, batch_size=8)
    try:
        found: Mapping[str, Any] | None = lm_eval.simple_evaluate(
            model=model,
            tasks=tasks,
            task_manager=manager,
            limit=limit,
            num_fewshot=shots,
            log_samples=True,
            bootstrap_iters=0,
            apply_chat_template=chat,
        )
    except (OSError, ConnectionError, ValueError) as error:
        raise UserError(
            f"the harness could not get the rows of {', '.join(tasks)}: {' '.join(str(error).split())[:200]}",
            hint="Without a network, name a file: tunesmith eval MODEL --benchmark NAME=FILE.",
            code="no-rows",
        ) from error
    finally:
        session.policy.drive(usual)
    return found or {"samples": {}}


def _numbers(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[float]]]:
    """Every number that the harness logged of each row, by metric (and filter, where there is one)."""
    for name in dict.fromkeys(row["filter"] for row in rows):
        own = [row for row in rows if row["filter"] == name]
        for metric in own[0].get("metrics", ()):
            values = [float(row[metric]) for row in own if isinstance(row.get(metric), int | float)]
            if values and all(math.isfinite(value) for value in values):
                yield metric if name == "none" else f"{metric},{name}", values
