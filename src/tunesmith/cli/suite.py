"""``tunesmith suite``: a regression suite that grows from what went wrong."""

from __future__ import annotations

from pathlib import Path

import click

from tunesmith.cli.output import emit, json_option, say

HOW = ("exact", "contains", "regex", "not-contains")


@click.group()
def suite() -> None:
    """Let a regression suite grow: prompts with what their answers must be like.

    A file named regression.yaml beside a recipe is run after every training with it.
    """


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
