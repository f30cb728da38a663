"""How well what belongs to a query is found: metrics of the ranks (from 1) of its ``R`` relevant documents.

    recall@k = |{ranks ≤ k}| / R        reciprocal rank = 1 / smallest rank
    average precision = (1/R) Σ_i i / rank_i        (ranks rising; its mean over queries is MAP)
    nDCG@k = Σ_{rank ≤ k} 1/log₂(1 + rank) / Σ_{i ≤ min(R, k)} 1/log₂(1 + i)      (Järvelin and Kekäläinen 2002)

The trap is ties: a model that maps everything to one vector scores all documents alike. Among equal scores the relevant
document comes last here, so that such a model finds nothing.

Shape legend: ``C`` documents, ``R`` relevant ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ranks(scores: NDArray[np.float64], relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rising ranks ``[R]`` of the relevant documents by ``scores [C]``, ties against them."""
    own, others = np.sort(scores[relevant])[::-1], np.sort(scores[~relevant])
    ahead = len(others) - np.searchsorted(others, own, side="left")
    return np.asarray(ahead + np.arange(1, len(own) + 1), dtype=np.int64)


def recall(found: NDArray[np.int64], k: int) -> float:
    """The share of relevant documents among the first ``k``."""
    return float((found <= k).mean())


def reciprocal_rank(found: NDArray[np.int64]) -> float:
    """One over the rank of the first relevant document."""
    return float(1.0 / found[0])


def average_precision(found: NDArray[np.int64]) -> float:
    """The mean, over relevant documents, of the precision at their rank."""
    return float((np.arange(1, len(found) + 1) / found).mean())


def ndcg(found: NDArray[np.int64], k: int) -> float:
    """Discounted gain of the first ``k``, as a share of the best possible."""
    best = np.arange(1, min(len(found), k) + 1)
    return float((1.0 / np.log2(1.0 + found[found <= k])).sum() / (1.0 / np.log2(1.0 + best)).sum())


def measures(found: NDArray[np.int64]) -> dict[str, float]:
    """All of them for one query."""
    return {
        "recall@1": recall(found, 1),
        "recall@5": recall(found, 5),
        "recall@10": recall(found, 10),
        "mrr": reciprocal_rank(found),
        "ndcg@10": ndcg(found, 10),
        "map": average_precision(found),
    }
