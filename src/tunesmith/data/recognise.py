"""Which format rows are in, and the reason in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import Format, Row
from tunesmith.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Recognised:
    """A format and why it was chosen."""

    format: Format
    reason: str


def recognise(sample: Sequence[Row], *, path: str, name: str = "auto", columns: Mapping[str, str]) -> Recognised:
    """The format of ``sample`` (first rows of ``path``, columns already renamed); a ``UserError`` where none fits.

    ``name`` other than ``auto`` takes that format at its word.
    """
    if name != "auto":
        return Recognised(FORMATS.load(name), "the recipe names it")
    for candidate in FORMATS.all:
        form: Format = FORMATS.load(candidate)
        reason = form.recognise(sample)
        if reason is not None:
            renamed = f" (after renaming {_pairs(columns)})" if columns else ""
            return Recognised(form, reason + renamed)
    found = list(dict.fromkeys(key for row in sample for key in row))
    wanted = [f"{form.name} ({', '.join(form.columns)})" for form in map(FORMATS.load, FORMATS.all)]
    usual = (
        "Name the format and map its columns, such as `columns: {prompt: question}` "
        "(`--column prompt=question` of `tunesmith init`)."
    )
    hint = _unfilled(found, sample) or _near_miss(found) or usual
    raise UserError(
        f"the format of {path} is not recognised",
        got=f"columns {', '.join(found) or '(none)'}",
        allowed=wanted,
        hint=hint,
        code="unknown-data-format",
    )


def rename(row: Mapping[str, Any], columns: Mapping[str, str]) -> Row:
    """``row`` with the columns a recipe maps under the format's own names: ``{prompt: question}``."""
    if not columns:
        return row
    renamed = {canonical: row[given] for canonical, given in columns.items() if given in row}
    return {**{key: value for key, value in row.items() if key not in columns.values()}, **renamed}


def check_columns(sample: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, path: str) -> None:
    """A mapped column that no sample row has is a ``UserError``."""
    found = {key for row in sample for key in row}
    for canonical, given in columns.items():
        if given not in found:
            raise UserError(
                f"{path} has no column for '{canonical}'",
                got=f"'{given}'",
                allowed=sorted(found),
                hint=did_you_mean(given, found),
                code="unknown-column",
            )


def _pairs(columns: Mapping[str, str]) -> str:
    return ", ".join(f"'{given}' to '{canonical}'" for canonical, given in columns.items())


def _unfilled(found: Iterable[str], sample: Sequence[Row]) -> str | None:
    """Which known columns most rows have no value in: a format needs its columns filled."""
    known = _known_columns()
    nulls = {column: sum(row.get(column) is None for row in sample) for column in found if column in known}
    told = [f"'{column}' is null in {count} of {len(sample)}" for column, count in nulls.items() if count]
    return f"Column {' and column '.join(told)} rows looked at: fill it, or remove those rows." if told else None


def _known_columns() -> set[str]:
    return {column for name in FORMATS.all for column in FORMATS.load(name).columns}


def _near_miss(found: Iterable[str]) -> str | None:
    known = _known_columns()
    for column in found:
        if column in known:
            continue
        hint = did_you_mean(column.lower(), known)
        if hint:
            return f"Column '{column}': {hint}"
    return None
