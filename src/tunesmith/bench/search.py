"""The learning rate of each candidate: a ladder climbed on short runs, the choice made by whole ones.

Rates stand √5 apart around a method's usual one. Short runs climb from there towards lower validation loss until it
rises again or ``TRIES`` are spent. The trap: short runs favour high rates, which learn soonest and settle worst, so
their best rate and the one below it are then trained in full, and the lower validation loss decides. These runs have a
seed of their own: no score is of a training that was chosen by its luck. The budget is the same for every candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tunesmith.bench.candidates import Candidate
from tunesmith.bench.cells import Cell, Done, Say, run_cells
from tunesmith.recipe import Recipe

STEP = 5**0.5
"""Between two rungs of the ladder."""
TRIES = 4
"""Short runs of a candidate, at most."""

TryOut = Callable[[Candidate, float, bool], Recipe]
"""The recipe that tries a candidate at a rate, in full or shortly."""


def rates(
    candidates: Sequence[Candidate], try_out: TryOut, folder: Path, *, jobs: int = 1, say: Say = lambda _: None
) -> list[float]:
    """The chosen rate of each of ``candidates``, in their order."""
    found: list[dict[int, float]] = [{} for _ in candidates]

    def losses(wanted: Sequence[tuple[int, int]], whole: bool) -> list[float]:
        words = " in full" if whole else ""
        cells = []
        for number, rung in wanted:
            candidate = candidates[number]
            rate = at(candidate.rate, rung)
            cells.append(Cell(f"{candidate.name}, rate {rate:.1e}{words}", try_out(candidate, rate, whole)))
        return [_loss(done) for done in run_cells(cells, folder, jobs=jobs, say=say)]

    while wanted := [(number, rung) for number, known in enumerate(found) for rung in following(known)]:
        for (number, rung), loss in zip(wanted, losses(wanted, False), strict=True):
            found[number][rung] = loss
    tops = [min(known, key=lambda rung: (known[rung], rung)) for known in found]
    both = [(number, rung) for number, top in enumerate(tops) for rung in (top, top - 1)]
    whole = losses(both, True)
    chosen = [
        top if above <= below else top - 1 for top, above, below in zip(tops, whole[::2], whole[1::2], strict=True)
    ]
    return [at(candidate.rate, rung) for candidate, rung in zip(candidates, chosen, strict=True)]


def at(usual: float, rung: int) -> float:
    """The rate ``rung`` steps above the usual one; two steps are exactly a factor of five."""
    return usual * (5.0 ** (rung // 2)) * (STEP if rung % 2 else 1.0)


def following(losses: Mapping[int, float]) -> list[int]:
    """The rungs to try next, given the losses of a contiguous stretch of them; none when the search is over."""
    if not losses:
        return [0, 1]
    best = min(losses, key=lambda rung: (losses[rung], rung))
    if len(losses) >= TRIES or min(losses) < best < max(losses):
        return []
    return [best + 1 if best == max(losses) else best - 1]


def _loss(done: Done) -> float:
    found = None if done.error else done.report.get("validation_loss")
    return float("inf") if found is None else float(found)
