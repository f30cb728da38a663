"""``tunesmith eval``: metrics of a run or a model, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tunesmith.cli.output import emit, grid, interval, json_option, say, shown, stdout
from tunesmith.errors import UserError, did_you_mean

EMBEDDED = "embedded"
SCHEME = "tunesmith:"


@click.command("eval")
@click.argument("run_or_model", metavar="RUN_OR_MODEL")
@click.option("--suite", help="A suite file, `tunesmith:NAME` (see `tunesmith suite list`) or `embedded`.")
@click.option("--tag", "tags", multiple=True, help="Only tasks and checks with this tag; may be given several times.")
@click.option(
    "--vary", "vary", multiple=True, help="Ask in another form too: typos, lower, upper, blanks, paraphrase, order, …"
)
@click.option(
    "--benchmark", "benchmarks", multiple=True, metavar="NAME=FILE", help="A benchmark's rows from a file, no hub."
)
@click.option("--shots", type=click.IntRange(0), default=0, show_default=True, help="Solved rows before each question.")
@click.option("--examples", metavar="FILE", help="Where --shots come from: rows of the same benchmark.")
@click.option("--harness", metavar="TASK,…", help="Tasks of lm-eval (the `lm-eval` extra), fetched as it fetches them.")
@click.option("--harness-path", metavar="DIR", help="A folder with lm-eval tasks of your own.")
@click.option("--limit", type=click.IntRange(1), help="Only so many rows of each --benchmark or --harness task.")
@click.option("--template", help="Chat template of a model that has none: chatml, plain, llama-2 or a jinja file.")
@click.option("--no-before", is_flag=True, help="Do not measure a run's base beside it.")
@json_option
def evaluate(run_or_model: str, suite: str | None, as_json: bool, **options: Any) -> int:
    """Evaluate RUN_OR_MODEL (a run folder, a model folder, `embedded` or a hub id) on a suite or on benchmarks.

    Without --suite a run is measured on the rows that it held out. Beside a run's figures stand those of its base,
    which is measured once. Exit code 1 if a task misses a threshold of the suite, or an answer fails a check.
    """
    result = _result(run_or_model, suite, **options)
    failed = result.get("failed", [])
    if as_json:
        emit(result)
        return 1 if failed else 0
    _tell(result)
    missed = [name for name in failed if name in result["metrics"]]
    if missed:
        say(f"Thresholds missed: {', '.join(missed)}.")
    return 1 if failed else 0


def _result(run_or_model: str, suite: str | None, **options: Any) -> dict[str, Any]:
    """What was asked for; what is wrong with the arguments is told before torch is loaded."""
    chosen = [name for name, given in _sources(suite, options).items() if given]
    if len(chosen) > 1:
        raise UserError(
            "rows come from one place at a time", got=" and ".join(chosen), hint="Call it twice.", code="bad-arguments"
        )
    if options["shots"] and not options["examples"] and options["benchmarks"]:
        raise UserError("--shots needs --examples, the rows that are shown solved", code="bad-arguments")
    if suite is not None:
        _known(suite)
    if options["harness"]:
        from tunesmith.run.harness import by_harness

        names = [name.strip() for name in options["harness"].split(",") if name.strip()]
        return by_harness(
            run_or_model,
            names,
            folder=options["harness_path"],
            limit=options["limit"],
            shots=options["shots"] or None,
            template=options["template"],
        )
    pairs = [_pair(text) for text in options["benchmarks"]]
    from tunesmith import run

    told: Any = suite
    if pairs:
        told = run.benchmark_suite(pairs, shots=options["shots"], examples=options["examples"], limit=options["limit"])
    chosen_by = {name: options[name] for name in ("tags", "vary", "template")}
    return run.evaluate(run_or_model, suite=told, **chosen_by, before=not options["no_before"], emit=_progress)


def _sources(suite: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"--suite": suite, "--benchmark": options["benchmarks"], "--harness": options["harness"]}


def _progress(event: Any) -> None:
    """Words about long work."""
    if event.kind == "phase" and event.values.get("text"):
        say(event.values["text"])


def _tell(result: Mapping[str, Any]) -> None:
    changes, costs = result.get("changes") or {}, result.get("variations") or {}
    rows = []
    for name, metric in result["metrics"].items():
        line = [name, shown(metric["value"]), _bounds(metric), shown(metric["n"])]
        if changes:
            found = changes.get(name, {})
            line += [interval(found.get("before") or {"value": None}), _change(found), found.get("verdict") or ""]
        if costs:
            line.append(interval(costs[name]) if costs.get(name) else "")
        rows.append(tuple(line))
    columns = ["metric", "value", "95% interval", "n"]
    columns += ["base", "change", ""] if changes else []
    columns += ["to the rows as they are"] if costs else []
    stdout().print(grid(tuple(columns), rows))
    for note in result.get("notes", ()):
        say(f"note: {note}")
    for check in result.get("checks", ()):
        if not check["passed"]:
            say(f"failed: {check['name']}: {check['why']}; got '{check['answer'][:200]}'")


def _change(found: Mapping[str, Any]) -> str:
    return interval(found["change"]) if found.get("change") else "-"


def _bounds(metric: Mapping[str, Any]) -> str:
    """The interval, which a single row does not have."""
    if metric["low"] is None and metric["high"] is None:
        return "none: one row" if metric["n"] == 1 else "-"
    return f"{shown(metric['low'])} to {shown(metric['high'])}"


def _pair(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not equals or not path:
        raise UserError(
            "a benchmark is named with its file",
            got=f"'{text}'",
            allowed="NAME=FILE, such as hellaswag=hellaswag_val.jsonl",
            hint="`tunesmith suite benchmarks` lists them and what their rows hold.",
            code="bad-arguments",
        )
    if not Path(path).exists():
        raise UserError(f"the rows of the benchmark '{name}' are missing: {path}", code="missing-rows")
    return name, path


def _known(suite: str) -> None:
    """A suite that is neither shipped nor a file is told before torch is loaded."""
    from tunesmith.evaluation.suites import SHIPPED, is_shipped, names, path_of

    if suite in (EMBEDDED, f"{SCHEME}{EMBEDDED}") or (not is_shipped(suite) and Path(suite).exists()):
        return
    if is_shipped(suite):
        path_of(suite)
        return
    known = [*names(), EMBEDDED]
    near = f"Did you mean '{SCHEME}{suite}'?" if suite in SHIPPED else did_you_mean(suite, [*known, *SHIPPED])
    raise UserError(
        "unknown suite",
        got=f"'{suite}'",
        allowed=[*known, "the path of a suite file"],
        hint=near or "A file is YAML with a list of `tasks:`, each with `name:` and `rows:`.",
        code="missing-suite",
    )
