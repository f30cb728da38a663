"""A first look at data: the format of a source, and what is plainly wrong with it, told in a fraction of a second.

Nothing heavy is imported here and only the first rows are read, so that a missing, empty or broken file is refused
before torch is loaded. What is broken further down is found when all rows are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith.data.recognise import Recognised, check_columns, recognise, rename
from tunesmith.data.sources import Broken, Source, is_local, open_source
from tunesmith.errors import UserError
from tunesmith.recipe.schema import DataConfig, SourceConfig

SAMPLE = 20
TOLD = 3
"""Broken rows that are named where all are."""
LARGE_JSON = 2**24
"""Bytes from which a json file, which can only be parsed as a whole, is not parsed to look at it."""


def sources_of(config: DataConfig) -> list[SourceConfig]:
    """The training sources, then those of validation."""
    return [*config.train, *(config.validation if isinstance(config.validation, list) else [])]


def check_sources(config: DataConfig, *, forgiving: bool = False) -> None:
    """A ``UserError`` where a local source cannot be opened or its first rows are in no known format.

    ``forgiving`` passes over lines that are no JSON, which curation drops.
    """
    for one in sources_of(config):
        if is_local(one.path):
            # by lines, because the first document of a txt file may be all of it
            unit = "files" if one.format == "files" else "lines"
            source = open_source(one.path, split=one.split, unit=unit, forgiving=forgiving)
            if not _large_json(Path(one.path).expanduser()):
                recognised(one, source)


def recognised(config: SourceConfig, source: Source) -> Recognised:
    """The format of ``source`` by its first rows; a ``UserError`` where it has none, or a mapped column is absent."""
    broken: list[str] = []
    objects = list(islice(_objects(source, broken), SAMPLE))
    if broken and not objects and config.format == "auto":
        raise UserError(f"no row of {config.path} can be read", got=broken, code="no-data")
    if objects:
        check_columns(objects, config.columns, path=config.path)
    renamed = [rename(value, config.columns) for value in objects]
    return recognise(renamed, path=config.path, name=config.format, columns=config.columns)


def _objects(source: Source, broken: list[str]) -> Iterator[Mapping[str, Any]]:
    """Rows that are some; ``broken`` gets what is wrong with the first of the others."""
    for row in source.rows():
        if not isinstance(row.value, Broken):
            yield row.value
        elif len(broken) < TOLD:
            broken.append(f"line {row.line}: {row.value.reason}")


def _large_json(file: Path) -> bool:
    return file.suffix.lower() == ".json" and file.is_file() and file.stat().st_size > LARGE_JSON
