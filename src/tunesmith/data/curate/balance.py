"""Balance: the larger groups are thinned out.

Which rows of a group stay is decided by a hash of the seed and what they say, not by their place: the same row stays
or goes wherever it stands, and adding rows of one group changes nothing in another that does not set the bound.

    sketch   of each row its rank (a hash) and a digest of its group's name; of each group in the chunk its name
    pick     rows in the order of group and rank; those beyond the bound go          memory: about 70 bytes a row
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tunesmith.data.curate.base import Arrays, Drop, Item, SketchStep
from tunesmith.data.curate.language import tongue_of
from tunesmith.data.curate.texts import words

SHOWN = 60
"""Characters of a group's name that reasons show."""


class Balance(SketchStep):
    """Drops rows of the larger groups: of frequent labels, of large sources, of a common length or language."""

    NAME: ClassVar[str] = "balance"

    by: Literal["label", "source", "length", "language", "column"] = "label"
    """What makes a group: the `label` (or answer), the `source`, the `length` in words (doubling), the `language`, or a
    `column`."""
    column: str | None = None
    """The column of `by: column`."""
    ratio: Annotated[float, Field(ge=1.0)] | None = 1.0
    """How often the smallest group's rows the largest may have; null for no bound."""
    most: Annotated[int, Field(ge=1)] | None = None
    """Most rows of any group."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides which rows stay."""

    @model_validator(mode="after")
    def _names_a_column(self) -> Self:
        if (self.by == "column") != (self.column is not None):
            raise ValueError("`column` names the column of `by: column`, and stands with no other")
        return self

    def sketch(self, items: Sequence[Item]) -> Arrays:
        """Numbers, ranks and digests of groups ``[rows, 2]``; digests and beginnings of the names of the groups."""
        groups = [self._group(item) for item in items]
        names = list(dict.fromkeys(groups))
        digests = {name: _digest(name, 16) for name in names}
        return {
            "number": np.array([item.number for item in items], dtype=np.int64),
            "rank": _as_numbers([self._rank(item) for item in items], 1)[:, 0],
            "group": _as_numbers([digests[name] for name in groups], 2),
            "named": _as_numbers([digests[name] for name in names], 2),
            "names": np.array([repr(name[:SHOWN]) for name in names], dtype=np.str_),
        }

    def pick(self, sketches: Sequence[Arrays], folder: Path) -> Mapping[int, Drop]:
        """The rows of each group beyond its bound."""
        if not sketches:
            return {}
        numbers, ranks = (np.concatenate([one[name] for one in sketches]) for name in ("number", "rank"))
        digests, groups = np.unique(np.concatenate([one["group"] for one in sketches]), axis=0, return_inverse=True)
        groups = groups.reshape(-1)
        sizes = np.bincount(groups, minlength=len(digests))
        order = np.lexsort((numbers, ranks, groups))
        places = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        beyond = order[places >= self._bound(sizes)]
        drops = self._drops(sketches, digests, np.unique(groups[beyond]))
        return {int(numbers[row]): drops[int(groups[row])] for row in beyond}

    def _drops(
        self, sketches: Sequence[Arrays], digests: NDArray[np.uint64], wanted: NDArray[np.int64]
    ) -> dict[int, Drop]:
        """Why rows of each of the ``wanted`` groups go."""
        asked = {digests[group].tobytes(): int(group) for group in wanted}
        found: dict[int, Drop] = {}
        for one in sketches:
            for digest, name in zip(one["named"], one["names"], strict=True):
                group = asked.get(digest.tobytes())
                if group is not None:
                    found.setdefault(group, Drop(f"there are enough rows of {self.column or self.by} {name}"))
        return found

    def _group(self, item: Item) -> str:
        if self.by == "source":
            return str(item.source)
        if self.by == "length":
            return f"{2 ** len(words(item.of('row'))).bit_length() // 2} words and more"
        if self.by == "language":
            return tongue_of(item.of("row"))
        if self.by == "column":
            return str(item.value.get(self.column or ""))
        return item.answer.strip()

    def _rank(self, item: Item) -> bytes:
        return _digest("\x00".join((str(self.seed), *item.texts)), 8)

    def _bound(self, sizes: NDArray[np.int64]) -> int:
        bounds = [int(sizes.max(initial=0))]
        bounds += [self.most] if self.most is not None else []
        bounds += [int(self.ratio * sizes.min())] if self.ratio is not None and len(sizes) else []
        return min(bounds)


def _digest(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=size).digest()


def _as_numbers(digests: Sequence[bytes], width: int) -> NDArray[np.uint64]:
    """``[n, width]``: digests of 8 bytes each ``width``, in the order in which bytes are."""
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64).reshape(-1, width)
