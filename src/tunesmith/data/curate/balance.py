"""Balance: the larger groups are thinned out.

Which rows of a group stay is decided by a hash of the seed and what they say, not by their place: the same row stays
or goes wherever it stands, and adding rows of one group changes nothing in another that does not set the bound.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tunesmith.data.curate.base import Drop, Item, SetStep
from tunesmith.data.curate.texts import words


class Balance(SetStep):
    """Drops rows of the larger groups: of frequent labels, of large sources, of a common length."""

    NAME: ClassVar[str] = "balance"

    by: Literal["label", "source", "length", "column"] = "label"
    """What makes a group: the `label` (or answer), the `source`, the `length` in words (doubling), or a `column`."""
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

    def choose(self, items: Iterable[Item], folder: Path) -> Mapping[int, Drop]:
        """The rows of each group beyond its bound."""
        groups: dict[str, list[tuple[bytes, int]]] = defaultdict(list)
        for item in items:
            groups[self._group(item)].append((self._rank(item), item.number))
        bound = self._bound([len(rows) for rows in groups.values()])
        dropped = {}
        for group, rows in groups.items():
            why = f"there are enough rows of {self.column or self.by} {group[:60]!r}"
            dropped.update({number: Drop(why) for _, number in sorted(rows)[bound:]})
        return dropped

    def _group(self, item: Item) -> str:
        if self.by == "source":
            return str(item.source)
        if self.by == "length":
            return f"{2 ** len(words(item.of('row'))).bit_length() // 2} words and more"
        if self.by == "column":
            return str(item.value.get(self.column or ""))
        return item.answer.strip()

    def _rank(self, item: Item) -> bytes:
        text = "\x00".join((str(self.seed), *item.texts))
        return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()

    def _bound(self, sizes: list[int]) -> int | None:
        bounds = [self.most] if self.most is not None else []
        if self.ratio is not None and sizes:
            bounds.append(int(self.ratio * min(sizes)))
        return min(bounds, default=None)
