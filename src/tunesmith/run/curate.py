"""Curated rows: once for a recipe that is trained, or by hand into a file of one's own.

Both keep their result in the cache under the digest of rows, steps and code, so what was curated by hand is there when
a recipe with the same steps is trained. Only training rows are curated: validation rows stay as they are given.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.curate import TABLE
from tunesmith.data.curate.base import Step
from tunesmith.data.curate.models import Models
from tunesmith.data.curate.pipeline import Curated, curate, step_counts
from tunesmith.data.ledger import Ledger
from tunesmith.errors import UserError
from tunesmith.events import Event, Sink, fan_out, silent
from tunesmith.files import disk_errors, sync_file, write_json
from tunesmith.recipe import Recipe
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import Part, SourceConfig
from tunesmith.run.resolve import settled
from tunesmith.run.session import cache_folder

_USUAL = ("unicode", "roles", "quality", "conflicts", "exact-dedup", "near-dedup")
USUAL: tuple[Part, ...] = tuple(Part(name=name) for name in _USUAL)
"""Steps by hand where none are named."""


@dataclass(frozen=True)
class Cleaned:
    """What curation by hand did: ``steps`` are the rows that each step dropped, ``out`` is None for a dry run."""

    ledger: Ledger
    steps: Mapping[str, int]
    out: Path | None
    ledger_file: Path | None
    hit: bool

    def to_json(self) -> dict[str, Any]:
        """The same as JSON holds it; the rows that were not simply kept are in the ledger file."""
        told = {key: value for key, value in self.ledger.to_json().items() if key in _TOLD}
        files = {"out": self.out and str(self.out), "ledger": self.ledger_file and str(self.ledger_file)}
        return {**told, "steps": dict(self.steps), **files, "from_cache": self.hit}


_TOLD = ("rows", "kept", "dropped", "reasons", "notes", "sources", "examples")


def curated(recipe: Recipe, *, emit: Sink = silent) -> Recipe:
    """``recipe`` with its training sources curated, where it asks for that; its ``curate`` is then empty."""
    if not recipe.curate or not recipe.data.train:
        return recipe
    found = _run(recipe.data.train, recipe.curate, workers=recipe.data.workers, emit=emit)
    sources = [
        one.model_copy(update={"path": str(file), "format": reading.format, "split": None})
        for one, file, reading in zip(recipe.data.train, found.files, found.readings, strict=True)
    ]
    return settled(recipe, "data", train=sources).model_copy(update={"curate": []})


def clean(
    sources: Sequence[SourceConfig],
    steps: Sequence[Part],
    *,
    out: Path | None,
    workers: int | None = None,
    sinks: tuple[Sink, ...] = (),
) -> Cleaned:
    """Curate ``sources`` into the jsonl file ``out`` with its ledger beside it; None writes neither.

    Raises ``UserError``: ``mixed-formats`` where sources of several formats would stand in one file, ``own-input``
    where ``out`` is one of the sources, ``bad-arguments`` where it is a folder.
    """
    if out is not None and any(_same(out, one.path) for one in sources):
        raise UserError("the clean rows would replace the rows they are made of", got=str(out), code="own-input")
    if out is not None and out.is_dir():
        raise UserError("--out names a folder, and the rows go into a file", got=str(out), code="bad-arguments")
    found = _run(sources, steps, workers=workers, emit=fan_out(*sinks))
    ledger = found.ledger
    counts = step_counts(ledger, _built(steps))
    if out is None:
        return Cleaned(ledger, counts, None, None, found.hit)
    shapes = {(one.format, tuple(sorted(one.columns.items()))) for one in found.readings}
    if len(shapes) > 1:
        raise UserError(
            "rows of several formats cannot stand in one file",
            got=sorted(form for form, _ in shapes),
            hint="Curate each source into a file of its own.",
            code="mixed-formats",
        )
    _write(found, out)
    beside = out.with_suffix(".ledger.json")
    write_json(beside, {"steps": [part.model_dump() for part in steps], **ledger.to_json()})
    return Cleaned(ledger, counts, out, beside, found.hit)


def _run(sources: Sequence[SourceConfig], steps: Sequence[Part], *, workers: int | None, emit: Sink) -> Curated:
    if not sources:
        raise UserError("no rows to curate", hint="Name a file in data.train.", code="no-data")
    found = curate(
        sources,
        _built(steps),
        cache=cache_folder() / "curated",
        workers=workers,
        models=_models(steps),
        told=lambda text: emit(Event("phase", 0, {"text": text})),
    )
    how = "read from the cache" if found.hit else "made now"
    emit(Event("note", 0, {"text": f"curated rows {how} (key {found.key[:12]})"}))
    return found


def _models(steps: Sequence[Part]) -> Models | None:
    """What opens models, where a step asks one: torch is loaded for it."""
    if not any(step.asks_model for step in _built(steps)):
        return None
    from tunesmith.run.openers import Openers

    return Openers()


def _built(steps: Sequence[Part]) -> list[Step]:
    return [build(TABLE, part) for part in steps]


def _same(out: Path, source: str) -> bool:
    return Path(source).expanduser().resolve() == out.expanduser().resolve()


def _write(found: Curated, out: Path) -> None:
    """The rows that are kept, as jsonl; whole or not there."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.writelines(found.kept())
            sync_file(temporary)
            temporary.replace(out)
        finally:
            temporary.unlink(missing_ok=True)
