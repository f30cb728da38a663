"""Control tags: values of columns in front of what is asked, so that one can ask for them (Keskar et al. 2019,
arXiv:1909.05858, section 3).

    {"tone": "formal", …} and form "[{column}: {value}] "   ->   the first question begins "[tone: formal] "

The trap: a tag is part of the text. Whoever generates must write it as it was trained; a row without it keeps none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from tunesmith.contracts.data import Record
from tunesmith.data.sources import Broken, Source
from tunesmith.errors import UserError, did_you_mean
from tunesmith.recipe.schema import TagsConfig

LOOKED_AT = 100
"""Rows of each source among which a column of ``data.tags`` has to be found."""


@dataclass(frozen=True)
class Tags:
    """Which columns are put in front, and how one is written."""

    columns: tuple[str, ...] = ()
    form: str = "[{column}: {value}] "

    def of(self, meta: Mapping[str, Any]) -> str:
        """The tags of a row with these further columns; columns that are missing or empty are left out."""
        values = ((column, meta.get(column)) for column in self.columns)
        return "".join(
            self.form.replace("{column}", column).replace("{value}", str(value).strip())
            for column, value in values
            if value is not None and str(value).strip()
        )


def tags_of(config: TagsConfig | None, sources: Sequence[Source]) -> Tags:
    """The recipe's tags; a ``UserError`` (``unknown-column``) for a column that no source has."""
    if config is None:
        return Tags()
    rows = (row.value for source in sources for row in islice(source.rows(), LOOKED_AT))
    found = {column for row in rows if not isinstance(row, Broken) for column in row}
    for column in config.columns:
        if column not in found:
            raise UserError(
                "no row has the column named in data.tags",
                got=f"'{column}'",
                allowed=sorted(found),
                hint=did_you_mean(column, found),
                code="unknown-column",
            )
    return Tags(tuple(config.columns), config.form)


def tagged(record: Record, tags: Tags) -> Record:
    """``record`` with its tags in front of the first question, or of its text where it has none."""
    front = tags.of(record.meta)
    if not front:
        return record
    if record.messages is None:
        return replace(record, text=front + (record.text or ""), spans=_moved(record.spans, len(front)))
    first = next((number for number, one in enumerate(record.messages) if one.role == "user"), None)
    if first is None:
        return record
    turn = record.messages[first]
    # some templates write a turn from its parts (instruction, input), of which the first begins its content
    extra = {name: front + value if _begins(turn.content, value) else value for name, value in turn.extra.items()}
    asked = replace(turn, content=front + turn.content, extra=extra)
    return replace(record, messages=(*record.messages[:first], asked, *record.messages[first + 1 :]))


def _begins(text: str, part: Any) -> bool:
    return isinstance(part, str) and part != "" and text.startswith(part)


def _moved(spans: Sequence[tuple[int, int]], by: int) -> tuple[tuple[int, int], ...]:
    return tuple((start + by, end + by) for start, end in spans)
