"""Rows from easy to hard, as feeds: update ``step`` stays a pure function of its number.

``Growing`` draws every update from the easiest part of the rows, which grows until all are in (Platanios et al. 2019,
arXiv:1903.09848, equation 8, p = 2): with difficulties as ranks in (0, 1], update t of the pacing's T sees rows up to

    c(t) = min(1, √( t (1 − c₀²) / T + c₀² )) .

Then it is the ordinary feed. ``SequenceFeed`` with ``difficulty`` is the other pace: the first epoch in order of it.

Shape legend: ``n`` rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tunesmith.contracts.batch import Example, Feed
from tunesmith.data.loader import Stateless
from tunesmith.data.store import TokenStore
from tunesmith.seed import derive


def competence(step: int, *, steps: int, start: float) -> float:
    """The share of rows that update ``step`` (from 0) may see."""
    return min(1.0, math.sqrt(step * (1.0 - start**2) / steps + start**2))


class Growing(Stateless):
    """For ``steps`` updates rows of the growing easy part, drawn without repeats in an update; then ``feed``.

    ``difficulty`` float ``[n]`` of the rows of ``store``; ``weights`` by source make a row likelier.
    """

    def __init__(
        self,
        feed: Feed,
        store: TokenStore,
        difficulty: NDArray[np.float64],
        *,
        batch_size: int,
        steps: int,
        start: float,
        seed: int,
        weights: Mapping[int, float] | None = None,
    ) -> None:
        self._feed, self._store, self._size = feed, store, batch_size
        self._steps, self._start, self._seed = steps, start, seed
        self._order = np.argsort(difficulty, kind="stable")
        sources = store.sources[self._order].tolist()
        self._likely = np.array([(weights or {}).get(source, 1.0) for source in sources])

    def update(self, step: int) -> Sequence[Example]:
        """The examples of optimizer update ``step``."""
        if step >= self._steps:
            return self._feed.update(step - self._steps)
        count = len(self._order)
        share = competence(step, steps=self._steps, start=self._start)
        seen = min(count, max(self._size, math.ceil(share * count)))
        likely = self._likely[:seen] / self._likely[:seen].sum()
        draw = np.random.default_rng(derive(self._seed, "growing", step))
        chosen = draw.choice(seen, size=min(self._size, seen), replace=False, p=likely)
        return [self._store[index] for index in self._order[chosen].tolist()]

    def epoch_of(self, step: int) -> float:
        """Rows seen so far in epochs of the ordinary feed."""
        if step <= self._steps:
            return step / self._feed.steps_in(1.0)
        return self._steps / self._feed.steps_in(1.0) + self._feed.epoch_of(step - self._steps)

    def steps_in(self, epochs: float) -> int:
        """Updates in ``epochs`` passes of the ordinary feed."""
        return self._feed.steps_in(epochs)
