"""Which side each row is on: training, validation, test.

Rows are *tied* that ask the same, were made from the same row, have the same value in the column ``group``, or are
nearly the same; what is tied never stands on two sides. Rows are taken in their order:

    tied to rows of one side          it goes there
    tied to rows of several sides     it is left out, because wherever it went it would be a leak
    tied to no earlier row            its own content decides, by a hash of (seed, group or prompt)

So rows that are added behind others move none of them, and what a row's side is made of is its own content and what
stands before it. Where rows are added in front or the order changes, a cluster may have another first row, and its hash
decides: the one case in which rows move. Named by ``keep``, an earlier split is taken first, and then none does.

With strata the hash chooses among the sides by what each still lacks in the row's stratum,

    p(side) ∝ max(0, share_side · (n + 1) − n_side),      n rows of the stratum so far, n_side of them on the side,

which never lets a side have more than its share by a whole row (or cluster). By time, the sides are given, and an
earlier row that is tied to a later side is left out.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.ledger import BETWEEN, LATER
from tunesmith.data.split import scrambled
from tunesmith.seed import derive

LEFT_OUT = -1
"""Side of rows that are on none."""


@dataclass(frozen=True)
class Row:
    """What decides a row's side: its ``number``, the hashes it is tied by (the first is the one that decides), its
    stratum, and the side it is given where one is."""

    number: int
    ties: tuple[int, ...]
    stratum: str | None = None
    given: int | None = None
    stays: bool = False
    """Whether the given side is that of an earlier split, which nothing changes."""


class Near(Protocol):
    """Rows that are nearly the same (``data.neighbours``)."""

    def like(self, number: int) -> dict[int, int]:
        """Side -> a row there that is like row ``number``."""
        ...

    def add(self, number: int, side: int) -> None:
        """Row ``number`` stands on ``side``."""
        ...


@dataclass
class Assigned:
    """``sides`` by row number; ``reasons`` of rows that are left out; ``like`` which row each of those is like."""

    sides: dict[int, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    clusters: list[tuple[float, int, list[int]]] = field(default_factory=list)
    """Of rows that nothing but their content decided: the hash, the side, and the rows that followed."""
    torn: int = 0
    """Rows that an earlier split keeps on a side though they are like rows of another."""


def assign(rows: Iterable[Row], shares: Sequence[float], *, seed: int, near: Near | None = None) -> Assigned:
    """A side for each row, from 0 (training) on; ``shares`` of all sides add up to 1.

    Rows come with those of an earlier split first, then of the later sides, if sides are given.
    """
    work = _Work(shares, seed, near)
    for row in rows:
        work.take(row)
    work.fill_empty()
    return work.found


class _Work:
    def __init__(self, shares: Sequence[float], seed: int, near: Near | None) -> None:
        self.found = Assigned()
        self._shares, self._near = shares, near
        self._salt = np.uint64(derive(seed, "validation"))
        self._of_tie: dict[int, dict[int, int]] = defaultdict(dict)
        self._cluster: dict[int, int] = {}
        self._counts: dict[str, Counter[int]] = defaultdict(Counter)

    def take(self, row: Row) -> None:
        """Find the side of ``row``."""
        tied = self._tied(row)
        others = set(tied) - {row.given}
        if row.given is not None:
            if others and not row.stays:
                self._leave_out(row, LATER)
                return
            self.found.torn += bool(others)
            self._put(row, row.given)
        elif len(tied) > 1:
            self._leave_out(row, BETWEEN)
        elif tied:
            ((side, like),) = tied.items()
            self._put(row, side, cluster=self._cluster.get(like))
        else:
            value = self._hash(row.ties[0])
            side = _side_of(value, self._wanted(row.stratum))
            self.found.clusters.append((value, side, []))
            self._put(row, side, cluster=len(self.found.clusters) - 1)

    def fill_empty(self) -> None:
        """Few rows may leave a side empty: the cluster whose hash is nearest to its share goes there."""
        edges = np.cumsum([0.0, *self._from_last(self._shares)])
        for place, side in enumerate(self._last_first()):
            if not self._shares[side] or side in self.found.sides.values():
                continue
            held = Counter(one[1] for one in self.found.clusters)
            free = [one for one in self.found.clusters if held[one[1]] > 1]
            if free:
                middle = (edges[place] + edges[place + 1]) / 2
                value, _, members = one = min(free, key=lambda one: abs(one[0] - middle))
                self.found.clusters[self.found.clusters.index(one)] = (value, side, members)
                self.found.sides |= dict.fromkeys(members, side)

    def _tied(self, row: Row) -> dict[int, int]:
        """Side -> a row on it that ``row`` is tied to."""
        found: dict[int, int] = {}
        for tie in row.ties:
            found |= self._of_tie[tie]
        if self._near is not None:
            found |= self._near.like(row.number)
        return found

    def _put(self, row: Row, side: int, *, cluster: int | None = None) -> None:
        self.found.sides[row.number] = side
        for tie in row.ties:
            self._of_tie[tie].setdefault(side, row.number)
        if self._near is not None:
            self._near.add(row.number, side)
        if row.stratum is not None:
            self._counts[row.stratum][side] += 1
        if cluster is not None:
            self._cluster[row.number] = cluster
            self.found.clusters[cluster][2].append(row.number)

    def _leave_out(self, row: Row, reason: str) -> None:
        self.found.sides[row.number] = LEFT_OUT
        self.found.reasons[row.number] = reason

    def _wanted(self, stratum: str | None) -> list[float]:
        """How likely each side is."""
        if stratum is None:
            return list(self._shares)
        counts = self._counts[stratum]
        lacking = [share * (counts.total() + 1) - counts[side] for side, share in enumerate(self._shares)]
        return [max(0.0, lack) if share else 0.0 for lack, share in zip(lacking, self._shares, strict=True)]

    def _hash(self, tie: int) -> float:
        """Uniform in [0, 1), the same for the same tie and seed."""
        return float(scrambled(np.array([tie], dtype=np.uint64) ^ self._salt)[0]) / 2.0**64

    def _last_first(self) -> list[int]:
        return [*range(1, len(self._shares)), 0]

    def _from_last(self, values: Sequence[float]) -> list[float]:
        return [values[side] for side in self._last_first()]


def _side_of(value: float, weights: Sequence[float]) -> int:
    """The side whose part of [0, 1) holds ``value``: validation first, training last, as ``split.by_share`` has it."""
    order = [*range(1, len(weights)), 0]
    edges = np.cumsum([weights[side] for side in order])
    return order[int(np.searchsorted(edges, value * edges[-1], side="right").clip(0, len(order) - 1))]


def hash64(text: str) -> int:
    """64 bits of a digest of ``text``."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


def origin_of(made: Any) -> int | None:
    """A hash of the row that a made row was first made from (its column ``made``); None where it says nothing."""
    while isinstance(made, Mapping) and isinstance(made.get("made"), Mapping):
        made = made["made"]
    if not isinstance(made, Mapping) or "file" not in made or "line" not in made:
        return None
    return hash64(f"{made['file']}:{made['line']}")


def as_array(assigned: Assigned, rows: int) -> NDArray[np.int8]:
    """int8 ``[rows]``: the side of each row, ``LEFT_OUT`` for those that are on none."""
    sides = np.full(rows, LEFT_OUT, dtype=np.int8)
    numbers = np.fromiter(assigned.sides.keys(), dtype=np.int64, count=len(assigned.sides))
    sides[numbers] = np.fromiter(assigned.sides.values(), dtype=np.int8, count=len(assigned.sides))
    return sides
