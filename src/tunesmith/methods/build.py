"""From ``{name, fields}`` of a recipe to the method's own checked config."""

from __future__ import annotations

from tunesmith.contracts.method import Method
from tunesmith.methods import TABLE
from tunesmith.recipe.load import validated
from tunesmith.recipe.schema import Part


def build(part: Part) -> Method:
    """The method that ``part`` names; ``UserError`` for an unknown name, an unknown option or a wrong value."""
    method: Method = validated(TABLE.load(part.name), part.fields, where="method")
    return method
