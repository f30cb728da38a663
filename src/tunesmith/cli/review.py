"""``tunesmith data review``: a person pages through rows of a file and says which are to stay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli.keys import pressed
from tunesmith.cli.output import emit, json_option, say
from tunesmith.cli.reading import column_option, format_option

if TYPE_CHECKING:
    from tunesmith.data.review import Asked, Review

KEYS = "k keep   d drop   n note and keep   x note and drop   b back   s skip   q stop"


@click.command()
@click.argument("file", metavar="FILE")
@click.option("-n", "count", default=100, show_default=True, type=click.IntRange(1), help="Rows to look at.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Chooses the rows.")
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="By default FILE with .review.jsonl.")
@format_option
@column_option
@json_option
def review(file: str, count: int, seed: int, to: Path | None, as_json: bool, **options: Any) -> None:
    """Page through random rows of FILE: keep, drop, note. Given again, it goes on where it was left.

    Every verdict is saved at once. The step `reviewed` of curation drops what you dropped, and its ledger says so.
    """
    from tunesmith.data.review import Review
    from tunesmith.recipe.schema import SourceConfig

    source = SourceConfig(path=file, format=options["form"], columns=options["columns"])
    found = Review.of(source, count=count, seed=seed, file=to)
    if found.left and not as_json:
        _page(found)
    if as_json:
        emit({**found.counts(), "file": str(found.file)})
        return
    counts = found.counts()
    click.echo(
        f"{counts['kept']} kept, {counts['dropped']} dropped, {counts['notes']} with notes, {counts['left']} left of "
        f"{counts['rows']}: {found.file}"
    )
    if counts["dropped"]:
        say(f"Next: tunesmith data curate {file} --steps '{{name: reviewed, file: {found.file}}}' --out clean.jsonl")


def _page(found: Review) -> None:
    """Ask row by row until all have a verdict or the person stops."""
    place, skipped = found.left[0], set[int]()
    while True:
        _show(found, place)
        key = pressed()
        if key in ("q", "\x03", "\x04", ""):
            return
        if key == "b":
            place = max(0, place - 1)
            continue
        if key in "kdnx":
            note = click.prompt("note", default="", show_default=False) if key in "nx" else ""
            found.say(place, "drop" if key in "dx" else "keep", note)
        elif key == "s":
            skipped.add(place)
        else:
            click.echo(KEYS)
            continue
        later = [one for one in found.left if one not in skipped]
        if not later:
            return
        place = next((one for one in later if one > place), later[0])


def _show(found: Review, place: int) -> None:
    row: Asked = found.rows[place]
    said = found.verdicts.get(row.key)
    before = f"   ({said.verdict}{': ' + said.note if said.note else ''})" if said else ""
    click.echo()
    click.echo(click.style(f"row {place + 1} of {len(found.rows)}, line {row.line}{before}", bold=True))
    record = row.item.record
    if record.messages is not None:
        for message in record.messages:
            click.echo(f"{click.style(message.role, fg='cyan')}: {message.content}")
        for number, candidate in enumerate(record.candidates, start=1):
            text = "\n".join(message.content for message in candidate.messages)
            click.echo(f"{click.style(f'answer {number}', fg='cyan')}: {text}")
    else:
        click.echo("\n".join(row.item.texts))
    click.echo(click.style(KEYS, dim=True))


COMMANDS = (review,)
