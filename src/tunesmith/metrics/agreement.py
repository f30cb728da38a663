"""How far judges agree beyond chance: Cohen's kappa for two, Fleiss' for any number.

    kappa = (p_agreed − p_chance) / (1 − p_chance)

Cohen (1960): chance is Σ_k p_1k p_2k, from what each of the two says how often. Fleiss (1971): p_agreed is the mean
over items of the share of agreeing pairs, and chance Σ_k p_k² from what all say together; items may have different
numbers of judges, of whom single ones tell nothing.

The trap: where nearly everything is one answer, chance is nearly 1 and kappa is low however often judges agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def cohen(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Kappa of two judges of the same items; None where there is none, or both only ever say one same thing."""
    if len(first) != len(second):
        raise ValueError(f"two judges need the same items, got {len(first)} and {len(second)}")
    if not first:
        return None
    count = len(first)
    agreed = sum(one == other for one, other in zip(first, second, strict=True)) / count
    often, also = Counter(first), Counter(second)
    return _kappa(agreed, sum(often[said] * also[said] for said in often) / count**2)


def fleiss(items: Sequence[Sequence[Hashable]]) -> float | None:
    """Kappa of any number of judges, for each item what was said of it; None where no item has two judges."""
    shared = [Counter(item) for item in items if len(item) > 1]
    if not shared:
        return None
    agreed = [
        sum(times * (times - 1) for times in said.values()) / (said.total() * (said.total() - 1)) for said in shared
    ]
    together: Counter[Hashable] = sum(shared, Counter())
    return _kappa(sum(agreed) / len(agreed), sum((times / together.total()) ** 2 for times in together.values()))


def _kappa(agreed: float, chance: float) -> float | None:
    return None if chance >= 1.0 else (agreed - chance) / (1.0 - chance)
