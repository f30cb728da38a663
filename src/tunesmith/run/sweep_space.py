"""What a sweep tries: options of a recipe, each with a list of values or a range.

    method.rank=8,16                     one of a list (items are YAML)
    train.learning_rate=1e-4:1e-2:log    from a range, evenly in its logarithm
    train.warmup=0:0.1                   from a range; whole numbers where both ends are whole

The trap: a range has no colon in its ends, a list no colon that stands alone; a path with a colon goes into quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import UserError
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import validated
from tunesmith.recipe.overrides import apply_overrides
from tunesmith.recipe.yaml12 import read_yaml
from tunesmith.run.resolve import parts

_RANGE = re.compile(r"^([^:,\[\]{}'\"]+):([^:,\[\]{}'\"]+?)(:log)?$")


@dataclass(frozen=True)
class Space:
    """The values of the option ``path``: one of ``choices``, or from ``low`` to ``high``."""

    path: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether a range is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all: if a recipe may have these it may have the others."""
        return self.choices or (self.low, self.high)


def space(text: str) -> Space:
    """``path=values`` as in the head of this file. Raises ``UserError`` ``bad-space``."""
    path, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not values or not all(path.split(".")):
        raise _bad(text)
    found = _RANGE.match(values)
    if found is None:
        choices = read_yaml(f"[{values}]", f"--over '{text}'")
        if len({json.dumps(choice, default=str) for choice in choices}) < len(choices):
            raise _bad(text, "a value stands there twice")
        return Space(path, tuple(choices))
    low, high = (read_yaml(end, f"--over '{text}'") for end in found.group(1, 2))
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not low < high:
        raise _bad(text, "a range goes from a number to a larger one")
    if found.group(3) and low <= 0:
        raise _bad(text, "a range in the logarithm begins above 0")
    return Space(path, low=low, high=high, log=bool(found.group(3)))


def spaces(texts: Sequence[str]) -> list[Space]:
    """All of them; a ``UserError`` where there is none, or two of one option."""
    found = [space(text) for text in texts]
    paths = [one.path for one in found]
    if not found or len(set(paths)) < len(paths):
        what = "an option is swept twice" if found else "nothing is swept"
        raise UserError(what, got=paths or None, allowed="--over a.b=VALUES for each option once", code="bad-space")
    return found


def recipe_with(recipe: Recipe, values: Mapping[str, Any], *, name: str) -> Recipe:
    """``recipe`` called ``name`` with ``values`` by dotted path; a ``UserError`` where it may not have them."""
    texts = [f"{path}={json.dumps(value)}" for path, value in values.items()]
    plain = apply_overrides(recipe.model_dump(mode="json"), texts, {})
    return validated(Recipe, {**plain, "name": name})


def check(recipe: Recipe, found: Sequence[Space]) -> None:
    """A ``UserError`` where ``recipe`` cannot be swept so: an unknown option, a value it may not have, stages."""
    if recipe.stages:
        raise UserError(
            "a sweep trains recipes without stages",
            got=f"{len(recipe.stages)} stages",
            hint="Sweep the stage that matters as a recipe of its own, with model.start.",
            code="cannot-sweep",
        )
    if recipe.data.validation in (0, 0.0, []):
        raise UserError(
            "trials are compared on validation rows, and there are none",
            hint="Set data.validation to a share such as 0.1, or to files.",
            code="cannot-sweep",
        )
    for one in found:
        if one.path.split(".")[0] in ("name", "stages"):
            raise UserError(f"{one.path} cannot be swept", got=one.path, code="bad-space")
        for value in one.ends:
            parts(recipe_with(recipe, {one.path: value}, name=recipe.name))


def _bad(text: str, why: str = "it is not of the form a.b=VALUES") -> UserError:
    return UserError(
        f"--over: {why}",
        got=f"'{text}'",
        allowed="method.rank=8,16 (a list), train.learning_rate=1e-4:1e-2:log (a range)",
        code="bad-space",
    )
