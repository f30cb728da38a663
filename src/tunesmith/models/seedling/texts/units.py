"""Documents of unit conversion: lengths, weights, times, volumes, money; every number exact."""

# ruff: noqa: E501  (lists of sentences, one idea a line)
from __future__ import annotations

from random import Random

from tunesmith.models.seedling.grammar import say
from tunesmith.models.seedling.world import World

UNITS = [("metre", "centimetre", 100, 60), ("kilometre", "metre", 1000, 60), ("centimetre", "millimetre", 10, 99),
         ("kilogram", "gram", 1000, 60), ("hour", "minute", 60, 24), ("minute", "second", 60, 24), ("day", "hour", 24, 14),
         ("week", "day", 7, 30), ("year", "month", 12, 20), ("litre", "millilitre", 1000, 60), ("dozen", "egg", 12, 20),
         ("silver coin", "coin", 20, 40)]  # fmt: skip
_FORMS = [
    "[x] [Big] [be] [y] [small].",
    "[x] [Big] = [y] [small].",
    "there are [y] [small] in [x] [Big].",
    "[y] [small] [be] [x] [Big].",
    "[y] [small] is another way to say [x] [Big].",
    "to change [bigs] into [smalls], multiply by [k]: [x] x [k] = [y].",
    "to change [smalls] into [bigs], divide by [k]: [y] / [k] = [x].",
]
_TALES = {
    "metre": "the {rope|table|boat|garden wall} of [p] is [x] [Big] long, which is [y] [small].",
    "kilometre": "[p] walked [x] [Big], that is [y] [small].",
    "kilogram": "[p] bought [x] [Big] of {flour|apples|rice|plums}, which is [y] [small].",
    "hour": "[p] worked for [x] [Big]. that is [y] [small].",
    "minute": "the {egg|tea|song} of [p] took [x] [Big], or [y] [small].",
    "day": "the journey of [p] took [x] [Big], which is [y] [small].",
    "week": "[p] stayed for [x] [Big]. that makes [y] [small].",
    "litre": "[p] carried [x] [Big] of {milk|water|juice}, that is [y] [small].",
    "dozen": "[p] bought [x] dozen eggs, so there were [y] eggs.",
}


def document(rng: Random, world: World, *, held_out: bool = False) -> str:  # noqa: ARG001
    """Three to eight statements about one or two pairs of units; `held_out` changes nothing here."""
    pairs = rng.sample(UNITS, rng.randint(1, 2))
    lines = []
    for _ in range(rng.randint(3, 8)):
        big, small, factor, top = rng.choice(pairs)
        x = rng.randint(1, top)
        fill = {"x": x, "y": x * factor, "k": factor, "be": rng.choice(("are", "make")) if x > 1 else "is", "Big": _plural(big, x), "small": _plural(small, x * factor), "bigs": _plural(big, 2),
                "smalls": _plural(small, 2), "p": rng.choice(world.people).name}  # fmt: skip
        forms = [_TALES[big]] if big in _TALES and rng.random() < 0.3 else _FORMS
        line = rng.choice(forms)
        lines.append(say(rng, line, fill))
    return rng.choice((" ", " ", "\n")).join(lines)


def _plural(unit: str, count: int) -> str:
    return unit if count == 1 or unit == "dozen" else unit + "s"
