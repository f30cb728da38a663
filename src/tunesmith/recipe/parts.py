"""From a recipe's ``{name, fields}`` to the part's own config object."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from tunesmith.recipe.problems import as_user_error
from tunesmith.recipe.schema import Part
from tunesmith.registry import Table


def build(table: Table, part: Part) -> Any:
    """The config object of ``part``; unknown names and fields are ``UserError`` with the closest known one.

    ``name: "peft:VERA"`` is the part ``peft`` with ``kind: VERA``.
    """
    name, _, variant = part.name.partition(":")
    kind = table.load(name)
    fields = part.fields | ({"kind": variant} if variant else {})
    try:
        return kind(**fields)
    except ValidationError as error:
        raise as_user_error(error, kind, table.kind) from error
