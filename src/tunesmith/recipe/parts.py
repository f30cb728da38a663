"""From a recipe's ``{name, fields}`` to the part's own config object."""

from __future__ import annotations

from typing import Any

from tunesmith.recipe.load import validated
from tunesmith.recipe.schema import Part
from tunesmith.registry import Table


def build(table: Table, part: Part) -> Any:
    """The config object of ``part``; unknown names and fields are ``UserError`` with the closest known one.

    ``name: "peft:VERA"`` is the part ``peft`` with ``kind: VERA``.
    """
    name, _, variant = part.name.partition(":")
    return validated(table.load(name), part.fields | ({"kind": variant} if variant else {}), table.kind)
