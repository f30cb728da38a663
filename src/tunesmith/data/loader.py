"""The order of training: update ``step`` is a pure function of its number (``contracts.batch.Feed``).

An epoch holds every sequence of a source ``weight`` times: its whole part as full copies, its fraction as a window
that moves over a fixed shuffle of the source from epoch to epoch, so that all rows come in turn. Without weights
nothing is ever seen twice in an epoch. The last update of an epoch is smaller when the batch size does not divide the
epoch; it is kept, because dropping it would train rows by chance of their place. With ``difficulty`` (float ``[n]`` of
the store's rows) the first epoch goes from easy to hard (Bengio et al. 2009, Curriculum learning, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tunesmith.contracts.batch import Example, Feed
from tunesmith.data.store import TokenStore
from tunesmith.errors import UserError
from tunesmith.seed import derive

if TYPE_CHECKING:
    import torch


class EpochOrder:
    """Which sequences an epoch holds and in what order: int64 indices into the store."""

    def __init__(
        self,
        store: TokenStore,
        *,
        seed: int,
        shuffle: bool = True,
        weights: Mapping[int, float] | None = None,
        difficulty: NDArray[np.float64] | None = None,
    ) -> None:
        if len(store) == 0:
            raise UserError("no sequence is left to train on", code="no-rows-left")
        self._seed, self._shuffle, self._difficulty = seed, shuffle, difficulty
        self._members = [
            (source, float((weights or {}).get(source, 1.0)), np.flatnonzero(store.sources == source))
            for source in np.unique(store.sources).tolist()
        ]
        self._known: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return sum(
            len(indices) * math.floor(weight) + self._extra(weight, indices) for _, weight, indices in self._members
        )

    def epoch(self, number: int) -> NDArray[np.int64]:
        """The order of epoch ``number`` (from 0)."""
        if self._known is None or self._known[0] != number:
            self._known = (number, self._ordered(number))
        return self._known[1]

    def _ordered(self, number: int) -> NDArray[np.int64]:
        parts: list[NDArray[np.int64]] = []
        for source, weight, indices in self._members:
            parts += [indices] * math.floor(weight)
            extra = self._extra(weight, indices)
            if extra:
                fixed = _generator(self._seed, "fraction", source).permutation(indices)
                window = np.arange(number * extra, (number + 1) * extra) % len(indices)
                parts.append(np.sort(fixed[window]))
        whole = np.concatenate(parts).astype(np.int64)
        if number == 0 and self._difficulty is not None:
            return whole[np.argsort(self._difficulty[whole], kind="stable")]
        return _generator(self._seed, "order", number).permutation(whole) if self._shuffle else whole

    @staticmethod
    def _extra(weight: float, indices: NDArray[np.int64]) -> int:
        return round((weight - math.floor(weight)) * len(indices))


class Stateless:
    """A feed whose updates are functions of their number alone."""

    def state(self) -> Mapping[str, torch.Tensor]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Nothing to take back."""


class FeedAround:
    """Base of feeds that change the updates of another one, whose epochs and state they keep."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def epoch_of(self, step: int) -> float:
        """Epochs of the inner feed's own rows."""
        return self._feed.epoch_of(step)

    def steps_in(self, epochs: float) -> int:
        """Updates in ``epochs`` passes over the inner feed's own rows."""
        return self._feed.steps_in(epochs)

    def state(self) -> Mapping[str, torch.Tensor]:
        """The inner feed's."""
        return self._feed.state()

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """The inner feed's."""
        self._feed.restore(state)


class SequenceFeed(Stateless):
    """Updates of ``batch_size`` sequences."""

    def __init__(
        self,
        store: TokenStore,
        *,
        seed: int,
        batch_size: int,
        shuffle: bool = True,
        weights: Mapping[int, float] | None = None,
        difficulty: NDArray[np.float64] | None = None,
    ) -> None:
        self._store, self._size = store, batch_size
        self._order = EpochOrder(store, seed=seed, shuffle=shuffle, weights=weights, difficulty=difficulty)
        self._updates = math.ceil(len(self._order) / batch_size)

    def update(self, step: int) -> Sequence[Example]:
        """The examples of optimizer update ``step``."""
        epoch, inside = divmod(step, self._updates)
        chosen = self._order.epoch(epoch)[inside * self._size : (inside + 1) * self._size]
        return [self._store[index] for index in chosen.tolist()]

    def epoch_of(self, step: int) -> float:
        """Epochs passed when update ``step`` begins."""
        epoch, inside = divmod(step, self._updates)
        return epoch + inside * self._size / len(self._order)

    def steps_in(self, epochs: float) -> int:
        """Updates in ``epochs`` passes; at least one."""
        whole = math.floor(epochs)
        part = math.ceil(round((epochs - whole) * len(self._order) / self._size, 9))
        return max(1, whole * self._updates + part)


class TokenFeed(Stateless):
    """Updates of about ``batch_tokens`` tokens.

    The tokens of an epoch are laid end to end and cut at equal distances into as many updates as ``batch_tokens`` goes
    into them; a sequence belongs to the update in which its first token lies. So every epoch has the same number of
    updates whatever its order, and none is much smaller than the others.
    """

    def __init__(
        self,
        store: TokenStore,
        *,
        seed: int,
        batch_tokens: int,
        shuffle: bool = True,
        weights: Mapping[int, float] | None = None,
        difficulty: NDArray[np.float64] | None = None,
    ) -> None:
        longest = int(store.lengths.max(initial=0))
        if longest > batch_tokens:
            raise UserError(
                "train.batch_tokens is smaller than the longest sequence",
                got=batch_tokens,
                allowed=f"at least {longest}",
                hint="Raise train.batch_tokens or lower data.max_tokens.",
                code="batch-too-small",
            )
        self._store = store
        self._order = EpochOrder(store, seed=seed, shuffle=shuffle, weights=weights, difficulty=difficulty)
        self._updates = max(1, int(store.lengths[self._order.epoch(0)].sum()) // batch_tokens)

    def update(self, step: int) -> Sequence[Example]:
        """The examples of optimizer update ``step``."""
        epoch, inside = divmod(step, self._updates)
        order = self._order.epoch(epoch)
        starts = np.concatenate([[0], np.cumsum(self._store.lengths[order])])
        edges = starts[-1] * np.array([inside, inside + 1]) / self._updates
        left, right = np.searchsorted(starts[:-1], edges, side="left").tolist()
        return [self._store[index] for index in order[left:right].tolist()]

    def epoch_of(self, step: int) -> float:
        """Epochs passed when update ``step`` begins."""
        return step / self._updates

    def steps_in(self, epochs: float) -> int:
        """Updates in ``epochs`` passes; at least one."""
        return max(1, math.ceil(round(epochs * self._updates, 9)))


def _generator(seed: int, *path: str | int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(derive(seed, *path)))
