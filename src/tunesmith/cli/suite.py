"""``tunesmith suite``: the suites that come with Tunesmith, and a regression suite that grows from what went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tunesmith.cli.output import emit, grid, json_option, pairs, say, stdout

HOW = ("exact", "contains", "regex", "not-contains")


@click.group()
def suite() -> None:
    """See the shipped suites and benchmarks, or let a regression suite of your own grow.

    A file named regression.yaml beside a recipe is run after every training with it.
    """


@suite.command("list")
@json_option
def listed(as_json: bool) -> None:
    """List the suites that come with Tunesmith."""
    from tunesmith.evaluation.suites import SCHEME, SHIPPED

    found = [{"name": f"{SCHEME}{name}", "summary": summary} for name, summary in SHIPPED.items()]
    found.append({"name": "embedded", "summary": "What the embedded model was made for, on rows it never saw."})
    if as_json:
        emit(found)
        return
    stdout().print(grid(("suite", "what it asks"), [(one["name"], one["summary"]) for one in found]))
    say("`tunesmith eval MODEL --suite NAME` measures one, `tunesmith suite show NAME` shows its tasks.")


@suite.command()
@click.argument("name", metavar="NAME_OR_FILE")
@click.option("--rows", is_flag=True, help="Show the rows too.")
@json_option
def show(name: str, rows: bool, as_json: bool) -> None:
    """Show the tasks of a suite: a shipped one by its name, or a file."""
    from tunesmith.run.suites import tasks_of

    found = tasks_of(name)
    if as_json:
        emit(found.model_dump(mode="json"))
        return
    console = stdout()
    lines = [
        (
            task.name,
            task.part.name,
            "lower" if task.lower_is_better else "higher",
            task.rows if isinstance(task.rows, str) else f"{len(task.rows) * max(1, len(task.wrap))}",
            ", ".join(task.vary),
        )
        for task in found.tasks
    ]
    console.print(grid(("task", "metric", "better", "rows", "variations"), lines))
    if found.checks:
        console.print(grid(("check", "prompt"), [(one.label, one.prompt) for one in found.checks]))
    if rows:
        for task in found.tasks:
            for row in task.rows if isinstance(task.rows, list) else ():
                console.print(f"{task.name}: {_short(row)}", markup=False)


@suite.command()
@click.argument("name", required=False)
@json_option
def benchmarks(name: str | None, as_json: bool) -> None:
    """List the benchmarks that are read from files, or show what the rows of one hold."""
    import inspect

    from tunesmith.evaluation.benchmarks import TABLE

    classes: dict[str, Any] = {one: TABLE.load(one) for one in ([name] if name else TABLE)}
    if as_json:
        emit(
            [
                {
                    "name": key,
                    "summary": inspect.getdoc(form),
                    "paper": form.paper,
                    "columns": form.columns,
                    "metrics": list(form.metrics),
                }
                for key, form in classes.items()
            ]
        )
        return
    console = stdout()
    if name is None:
        lines = [(key, inspect.getdoc(form) or "", ", ".join(form.metrics)) for key, form in classes.items()]
        console.print(grid(("benchmark", "what it is", "numbers"), lines))
        say("`tunesmith eval MODEL --benchmark NAME=FILE`; `tunesmith suite benchmarks NAME` shows its columns.")
        return
    form = classes[name]
    console.print(f"{inspect.getdoc(form)}\nPaper: {form.paper}\n", markup=False)
    console.print(pairs(dict(form.columns)))


@suite.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--prompt", required=True, help="What the user says.")
@click.option("--expect", required=True, help="What the answer is, contains, matches or does not contain.")
@click.option("--how", type=click.Choice(HOW), default="contains", show_default=True, help="How it is compared.")
@click.option("--system", help="System prompt.")
@click.option("--name", help="Name in results; by default the prompt.")
@click.option("--tag", "tags", multiple=True, help="Tag to choose it by; may be given several times.")
@json_option
def add(
    file: Path,
    prompt: str,
    expect: str,
    how: str,
    system: str | None,
    name: str | None,
    tags: tuple[str, ...],
    as_json: bool,
) -> None:
    """Add a check to the suite FILE, which is made where there is none."""
    from tunesmith.evaluation.checks import Check, add_check
    from tunesmith.recipe.load import validated

    values = {"prompt": prompt, how.replace("-", "_"): expect, "system": system, "name": name, "tags": list(tags)}
    count = add_check(file, validated(Check, values))
    if as_json:
        emit({"suite": str(file), "checks": count})
        return
    say(f"{file} has {count} check{'s' if count > 1 else ''} now. Run it: tunesmith eval RUN --suite {file}")


def _short(row: Any, limit: int = 160) -> str:
    text = " ".join(str(row).split())
    return text if len(text) <= limit else f"{text[:limit]}…"
