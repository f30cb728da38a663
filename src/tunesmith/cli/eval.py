"""``tunesmith eval``: metrics of a run or a model, each with its interval."""

from __future__ import annotations

import click

from tunesmith.cli.output import emit, grid, json_option, say, shown, stdout


@click.command("eval")
@click.argument("run_or_model", metavar="RUN_OR_MODEL")
@click.option("--suite", required=True, help="A suite file or the name of a suite.")
@json_option
def evaluate(run_or_model: str, suite: str, as_json: bool) -> int:
    """Evaluate RUN_OR_MODEL (a run folder, a model folder, `embedded` or a hub id) on a suite.

    Exit code 1 if a task misses the threshold that the suite sets for it.
    """
    from tunesmith import run

    result = run.evaluate(run_or_model, suite=suite)
    failed = result.get("failed", [])
    if as_json:
        emit(result)
        return 1 if failed else 0
    rows = [
        (name, shown(metric["value"]), f"{shown(metric['low'])} to {shown(metric['high'])}", shown(metric["n"]))
        for name, metric in result["metrics"].items()
    ]
    stdout().print(grid(("metric", "value", "95% interval", "n"), rows))
    if failed:
        say(f"Below their threshold: {', '.join(failed)}.")
    return 1 if failed else 0
