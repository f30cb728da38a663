"""Documents of correct arithmetic: two-digit sums and differences, small products, worked steps, sequences, comparisons.

Reserved problems (`reserved`) appear only where `held_out` is set, so the held-out documents measure calculation and not
memory. Sums of a one-digit number and products are tables to be known by heart, so all of those are in the corpus.
"""

# ruff: noqa: E501  (lists of sentences, one idea a line)
from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tunesmith.models.seedling.grammar import say
from tunesmith.models.seedling.world import World


@dataclass(frozen=True)
class Sum:
    """`a sign b = answer`, with `sign` one of `+ - x`."""

    a: int
    sign: str
    b: int

    @property
    def answer(self) -> int:
        """The exact result."""
        return {"+": self.a + self.b, "-": self.a - self.b, "x": self.a * self.b}[self.sign]


_WORDS = {
    "+": ["[a] plus [b] is [c].", "[a] plus [b] {makes|equals} [c].", "[a] and [b] {make|are} [c] together.", "the sum of [a] and [b] is [c].",
          "if you add [b] to [a], you get [c].", "adding [a] and [b] gives [c]."],
    "-": ["[a] minus [b] is [c].", "[a] minus [b] {leaves|equals} [c].", "[b] taken from [a] leaves [c].",
          "the difference between [a] and [b] is [c].", "if you take [b] away from [a], you get [c]."],
    "x": ["[a] times [b] is [c].", "[a] times [b] {makes|equals} [c].", "the product of [a] and [b] is [c].",
          "if you multiply [a] by [b], you get [c]."],
}  # fmt: skip
_TALES = {
    "+": ["[p] had [a] [things] and {bought|found|got} [b] more. now [p] has [c] [things].",
          "there were [a] [things] on the table and [b] in the box. that makes [c] [things].",
          "[p] paid [a] coins for {bread|cheese|a hat} and [b] coins for {tea|paper|a rope}, [c] coins in all."],
    "-": ["[p] had [a] [things] and {gave away|sold|lost} [b]. now [p] has [c] [things] left.",
          "of [a] [things], [b] were {broken|sold|lost|wet}. the other [c] were {fine|kept|still there}.",
          "[p] had [a] coins and spent [b]. [c] coins were left in the {purse|bag|pocket}."],
    "x": ["[p] filled [a] {bags|boxes|baskets} with [b] [things] each. that makes [c] [things].",
          "[a] {children|friends|neighbours} brought [b] [things] each, so there were [c] [things]."],
}  # fmt: skip
THINGS = [
    "apples",
    "pears",
    "eggs",
    "shells",
    "stones",
    "nuts",
    "books",
    "cups",
    "plums",
    "candles",
    "buttons",
    "stamps",
]


def pair_key(problem: Sum) -> str:
    """The key of `World.held_out`; both orders of a sum or product share one."""
    low, high = (problem.a, problem.b) if problem.sign == "-" else sorted((problem.a, problem.b))
    return f"{low}{problem.sign}{high}"


def reserved(world: World, problem: Sum) -> bool:
    """Whether the training corpus never states this sum or difference of two two-digit numbers."""
    return problem.sign != "x" and min(problem.a, problem.b) >= 10 and world.held_out(pair_key(problem))


def draw(rng: Random, world: World, sign: str, *, held_out: bool) -> Sum:
    """A random problem, reserved or not; differences are never negative, products go to 10 x 10 and are never reserved."""
    top = 10 if sign == "x" else 99
    while True:
        a, b = rng.randint(1, top), rng.randint(1, top)
        problem = Sum(max(a, b), sign, min(a, b)) if sign == "-" else Sum(a, sign, b)
        if sign == "x" or reserved(world, problem) == held_out:
            return problem


def document(rng: Random, world: World, *, held_out: bool = False) -> str:
    """Four to twelve statements: one form throughout (a column, a worked page) or mixed prose."""
    style = rng.choices(("column", "prose", "tales", "worked", "order", "mixed"), (24, 22, 12, 18, 10, 14))[0]
    if style == "order":
        return _order(rng)
    signs = rng.choice(("+", "-", "+-", "+-", "+-x", "x"))
    count = rng.randint(3, 6) if style == "worked" else rng.randint(4, 12)
    problems = [draw(rng, world, rng.choice(signs), held_out=held_out) for _ in range(count)]
    makers = {"column": _equation, "prose": _sentence, "tales": _tale, "worked": worked}
    if style == "mixed":
        return " ".join(makers[rng.choice(("column", "prose"))](rng, world, p) for p in problems)
    text = {"prose": " ", "tales": " "}.get(style, "\n").join(makers[style](rng, world, p) for p in problems)
    bare = style == "column" and rng.random() < 0.5
    return text.replace(".", "") if bare else text


def worked(_rng: Random, _world: World, problem: Sum) -> str:
    """The steps a child writes down: ones first, then tens, then the answer."""
    a, b, c = problem.a, problem.b, problem.answer
    if problem.sign == "x":
        return f"{a} x {b}: " + " + ".join([str(b)] * a) + f" = {c}."
    if problem.sign == "+":
        ones, carry = a % 10 + b % 10, (a % 10 + b % 10) // 10
        total = a // 10 + b // 10 + carry
        moved = f"write {ones % 10} and carry 1" if carry else f"write {ones}"
        return f"{a} + {b}: {a % 10} + {b % 10} = {ones}, {moved}. {a // 10} + {b // 10}{' + 1' if carry else ''} = {total}. So {a} + {b} = {c}."
    borrow = a % 10 < b % 10
    ones = a % 10 + (10 if borrow else 0)
    first = f"borrow 1. {ones} - {b % 10} = {ones - b % 10}" if borrow else f"{ones} - {b % 10} = {ones - b % 10}"
    tens = f"{a // 10}{' - 1' if borrow else ''} - {b // 10} = {a // 10 - borrow - b // 10}"
    return f"{a} - {b}: {first}. {tens}. So {a} - {b} = {c}."


def _equation(_rng: Random, _world: World, problem: Sum) -> str:
    return f"{problem.a} {problem.sign} {problem.b} = {problem.answer}."


def _fill(rng: Random, world: World, problem: Sum) -> dict[str, object]:
    return {
        "a": problem.a,
        "b": problem.b,
        "c": problem.answer,
        "p": rng.choice(world.people).name,
        "things": rng.choice(THINGS),
    }


def _sentence(rng: Random, world: World, problem: Sum) -> str:
    return say(rng, rng.choice(_WORDS[problem.sign]), _fill(rng, world, problem))


def _tale(rng: Random, world: World, problem: Sum) -> str:
    if problem.sign == "x" and problem.a == 1:
        return _sentence(rng, world, problem)
    return say(rng, rng.choice(_TALES[problem.sign]), _fill(rng, world, problem))


def _order(rng: Random) -> str:
    """Counting by steps, comparing and sorting numbers, even and odd."""
    lines = []
    for _ in range(rng.randint(3, 7)):
        a, b = sorted(rng.sample(range(1, 100), 2))
        few = rng.sample(range(1, 100), rng.randint(3, 5))
        step, start = rng.randint(1, 9), rng.randint(1, 30)
        run = ", ".join(str(start + step * k) for k in range(5))
        lines.append(rng.choice((
            f"{b} is {rng.choice(('more', 'greater', 'larger'))} than {a}.", f"{a} is {rng.choice(('less', 'smaller'))} than {b}.",
            f"Counting by {step} from {start}: {run}.", f"In order, {', '.join(map(str, few))} become {', '.join(map(str, sorted(few)))}.",
            f"The largest of {', '.join(map(str, few))} is {max(few)}.", f"The smallest of {', '.join(map(str, few))} is {min(few)}.",
            f"{a} is an {'odd' if a % 2 else 'even'} number.",
            f"After {b} comes {b + 1}.", f"Before {b} comes {b - 1}.", f"Half of {2 * a} is {a}.", f"Twice {a} is {2 * a}.")))  # fmt: skip
    return " ".join(lines)
