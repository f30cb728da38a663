"""``tunesmith eval``: metrics of a run or a model, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tunesmith.cli.output import emit, grid, json_option, say, shown, stdout
from tunesmith.errors import UserError, did_you_mean

SHIPPED = ("embedded",)
"""Suites that come with Tunesmith; ``run.suites`` knows what is in them."""


@click.command("eval")
@click.argument("run_or_model", metavar="RUN_OR_MODEL")
@click.option("--suite", help="A suite file, or `embedded` for the shipped one; by default a run's held-out rows.")
@click.option("--tag", "tags", multiple=True, help="Only tasks and checks with this tag; may be given several times.")
@json_option
def evaluate(run_or_model: str, suite: str | None, tags: tuple[str, ...], as_json: bool) -> int:
    """Evaluate RUN_OR_MODEL (a run folder, a model folder, `embedded` or a hub id) on a suite, or on a run's own rows.

    Exit code 1 if a task misses a threshold of the suite, or an answer fails a check.
    """
    if suite is not None:
        _known(suite)
    from tunesmith import run

    result = run.evaluate(run_or_model, suite=suite, tags=tags)
    failed = result.get("failed", [])
    if as_json:
        emit(result)
        return 1 if failed else 0
    rows = [
        (name, shown(metric["value"]), _bounds(metric), shown(metric["n"]))
        for name, metric in result["metrics"].items()
    ]
    stdout().print(grid(("metric", "value", "95% interval", "n"), rows))
    for note in result.get("notes", ()):
        say(f"note: {note}")
    for check in result.get("checks", ()):
        if not check["passed"]:
            say(f"failed: {check['name']}: {check['why']}; got '{check['answer'][:200]}'")
    missed = [name for name in failed if name in result["metrics"]]
    if missed:
        say(f"Thresholds missed: {', '.join(missed)}.")
    return 1 if failed else 0


def _bounds(metric: Mapping[str, Any]) -> str:
    """The interval, which a single row does not have."""
    if metric["low"] is None and metric["high"] is None:
        return "none: one row"
    return f"{shown(metric['low'])} to {shown(metric['high'])}"


def _known(suite: str) -> None:
    """A suite that is neither shipped nor a file is told before torch is loaded."""
    if suite in SHIPPED or Path(suite).exists():
        return
    near = did_you_mean(suite, SHIPPED)
    raise UserError(
        "unknown suite",
        got=f"'{suite}'",
        allowed=[*SHIPPED, "the path of a suite file"],
        hint=near or "`embedded` is shipped; a file is YAML with a list of `tasks:`, each with `name:` and `rows:`.",
        code="missing-suite",
    )
