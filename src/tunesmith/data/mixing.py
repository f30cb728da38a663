"""How often rows of each source are seen: proportions of a mixture, as weights of whole epochs.

    p_k ∝ w_k · min(n_k, K)^(1/T)                                  (Raffel et al. 2020, arXiv:1910.10683, section 3.5.2)

with ``n_k`` rows of source k, ``w_k`` its asked weight, T the temperature (1: by size; large: all alike) and K the cap
on a source's size. An epoch keeps its size N = Σ n_k w_k, so a row of source k is seen ``p_k N / n_k`` times in it.
"""

from __future__ import annotations

from collections.abc import Mapping


def mixed(
    counts: Mapping[int, int], weights: Mapping[int, float], *, temperature: float = 1.0, cap: int | None = None
) -> dict[int, float]:
    """How often a row of each source (by number) is seen in an epoch."""
    share = {
        source: weights.get(source, 1.0) * float(min(count, cap or count)) ** (1.0 / temperature)
        for source, count in counts.items()
    }
    rows = sum(count * weights.get(source, 1.0) for source, count in counts.items())
    whole = sum(share.values())
    return {source: share[source] / whole * rows / count for source, count in counts.items()}
