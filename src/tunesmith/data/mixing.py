"""How often rows of each source are seen: proportions of a mixture, as weights of whole epochs.

    p_k ∝ w_k · min(n_k, K)^(1/T)                                  (Raffel et al. 2020, arXiv:1910.10683, section 3.5.2)

with ``n_k`` rows of source k, ``w_k`` its asked weight, T the temperature (1: by size; large: all alike) and K the cap
on a source's size. An epoch keeps its size N = Σ n_k w_k, so a row of source k is seen ``p_k N / n_k`` times in it.

With a bound on repeats no row is seen more often than that in the whole run: sources that would be are held at the
bound, and what they leave goes to the others by their p_k, round by round, until none is above. Where all are at the
bound the epoch is smaller. (Seen up to four times a row is worth nearly as much as a new one: Muennighoff et al. 2023,
arXiv:2305.16264.) The loader remembers which rows a fraction took in turn, so no row is seen a second time more often
than another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tunesmith.data.store import TokenStore


def mixed(
    counts: Mapping[int, int],
    weights: Mapping[int, float],
    *,
    temperature: float = 1.0,
    cap: int | None = None,
    most: float = math.inf,
) -> dict[int, float]:
    """How often a row of each source (by number) is seen in an epoch, at most ``most`` times."""
    share = {
        source: weights.get(source, 1.0) * float(min(count, cap or count)) ** (1.0 / temperature)
        for source, count in counts.items()
    }
    left = sum(count * weights.get(source, 1.0) for source, count in counts.items())
    found: dict[int, float] = {}
    free = dict(share)
    while free:
        whole = sum(free.values())
        seen = {source: free[source] / whole * left / counts[source] for source in free}
        above = [source for source, times in seen.items() if times > most]
        if not above:
            return {source: (found | seen)[source] for source in counts}
        for source in above:
            found[source] = most
            left -= most * counts[source]
            del free[source]
    return {source: found[source] for source in counts}


@dataclass(frozen=True)
class SourceMix:
    """One training source in the mixture: ``rows`` with sequences, what an epoch holds of it, how often a row is seen.

    ``epoch_share`` and ``token_share`` are its parts of an epoch's sequences and tokens.
    """

    path: str
    rows: int
    sequences: int
    tokens: int
    trained_tokens: int
    weight: float
    epoch_share: float
    token_share: float
    seen_in_epoch: float
    seen_in_run: float

    def to_json(self) -> dict[str, Any]:
        """The same as JSON holds it."""
        return asdict(self)


def statistics(
    store: TokenStore, paths: Sequence[str], asked: Mapping[int, float], seen: Mapping[int, float], *, epochs: float
) -> list[SourceMix]:
    """Each training source with rows in ``store``: ``asked`` are the recipe's weights, ``seen`` those of an epoch."""
    found = []
    totals = {
        source: (int(mine.sum()), int(store.lengths[mine].sum()), int(store.trained_counts[mine].sum()))
        for source in np.unique(store.sources).tolist()
        for mine in [store.sources == source]
    }
    sequences = sum(count * seen.get(source, 1.0) for source, (count, _, _) in totals.items())
    tokens = sum(count * seen.get(source, 1.0) for source, (_, count, _) in totals.items())
    for source, (own, own_tokens, trained) in totals.items():
        times = seen.get(source, 1.0)
        found.append(
            SourceMix(
                path=paths[source],
                rows=len(np.unique(store.rows[store.sources == source])),
                sequences=own,
                tokens=own_tokens,
                trained_tokens=trained,
                weight=asked.get(source, 1.0),
                epoch_share=own * times / sequences,
                token_share=own_tokens * times / tokens,
                seen_in_epoch=times,
                seen_in_run=times * epochs,
            )
        )
    return found
