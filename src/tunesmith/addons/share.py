"""A feed with further rows in every update, by share: update ``step`` stays a pure function of its number.

With ``B`` rows of its own and share ``s`` an update brings ``r = B · s / (1 − s)`` further rows, on average exactly:
update ``k`` has ``⌊(k + 1) r⌋ − ⌊k r⌋`` of them. They come in turn from a shuffle of all further rows, which is drawn
anew for each pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tunesmith.contracts.batch import Example, Feed
from tunesmith.data.loader import FeedAround
from tunesmith.errors import UserError
from tunesmith.seed import derive


class ShareFeed(FeedAround):
    """``feed`` with ``rows`` that make up ``share`` of every update; ``name`` keeps several such feeds apart."""

    def __init__(self, feed: Feed, rows: Sequence[Example], *, share: float, seed: int, name: str) -> None:
        if not rows:
            raise UserError(f"no row is left for the add-on {name}", code="no-rows-left")
        super().__init__(feed)
        self._rows, self._seed, self._name = rows, seed, name
        self._ratio = share / (1.0 - share)
        self._known: tuple[int, NDArray[np.int64]] | None = None

    def update(self, step: int) -> Sequence[Example]:
        """The feed's own rows, then the further ones."""
        own = self._feed.update(step)
        rate = len(own) * self._ratio
        # 1e-9: a product such as 9 · 0.1 / 0.9 is meant to be whole
        first, last = (math.floor(number * rate + 1e-9) for number in (step, step + 1))
        return [*own, *(self._row(number) for number in range(first, last))]

    def _row(self, number: int) -> Example:
        turn, place = divmod(number, len(self._rows))
        if self._known is None or self._known[0] != turn:
            draw = np.random.default_rng(derive(self._seed, self._name, turn))
            self._known = (turn, draw.permutation(len(self._rows)))
        return self._rows[int(self._known[1][place])]
