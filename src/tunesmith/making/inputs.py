"""What all makers are given besides their own options: rows, and who answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tunesmith.contracts.data import Record
from tunesmith.data.formats.base import BadRow, Format
from tunesmith.data.look import recognised
from tunesmith.data.recognise import rename
from tunesmith.data.sources import Broken, open_source, unit_of
from tunesmith.making.base import Parent
from tunesmith.recipe.base import Config
from tunesmith.recipe.schema import SourceConfig


def _as_sources(given: Any) -> Any:
    return [given] if isinstance(given, str | dict) else list(given) if isinstance(given, tuple) else given


Sources = Annotated[list[SourceConfig], BeforeValidator(_as_sources)]


class Rows(Config):
    """Rows to make from."""

    rows: Sources = []
    """Rows to make from: files that `tunesmith train` reads, or `{path: …, format: …, columns: …}`."""
    limit: Annotated[int, Field(gt=0)] | None = None
    """Most rows to make from, the first ones; by default all."""


class Inputs(Rows):
    """Rows to make from, and the model's server where it has one."""

    template: str | None = None
    """Chat template, as in `data.template`; by default the model's own."""
    server: str | None = None
    """Address of an OpenAI-compatible server that answers in place of this process; MODEL gives tokens and template."""
    served: str | None = None
    """The server's name of the model, where it has several."""
    key_variable: str | None = None
    """Environment variable that holds the server's key."""


def parents_of(inputs: Rows) -> tuple[list[Parent], int]:
    """The rows as parents, and how many could not be read. Raises ``UserError`` as reading does."""
    found: list[Parent] = []
    lost = 0
    for one in inputs.rows:
        source = open_source(one.path, split=one.split, unit=unit_of(one.format))
        form = recognised(one, source).format
        for row in source.rows():
            if inputs.limit is not None and len(found) == inputs.limit:
                return found, lost
            record = _record(row.value, form, one.columns)
            if record is None:
                lost += 1
            else:
                found.append(Parent(record, row.file, row.line, form=form))
    return found, lost


def _record(value: Any, form: Format, columns: Mapping[str, str]) -> Record | None:
    try:
        return None if isinstance(value, Broken) else form.read(rename(value, columns))
    except BadRow:
        return None
