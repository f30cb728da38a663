"""pass@k: the chance that one of ``k`` answers passes, without bias from ``n ≥ k`` (Chen et al. 2021, equation 1).

    pass@k = 1 − C(n − c, k) / C(n, k)        c: how many of the n pass

The trap: 1 − (1 − c/n)^k is biased downwards.
"""

from __future__ import annotations

from math import comb


def pass_at_k(answers: int, passed: int, k: int) -> float:
    """The estimate for one prompt. Raises ``ValueError`` unless ``0 ≤ passed ≤ answers`` and ``1 ≤ k ≤ answers``."""
    if not 0 <= passed <= answers or not 1 <= k <= answers:
        raise ValueError(f"pass@{k} cannot be told from {passed} of {answers}")
    return 1.0 - comb(answers - passed, k) / comb(answers, k)
