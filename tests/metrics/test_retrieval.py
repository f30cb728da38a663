"""Retrieval metrics against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tunesmith.metrics import retrieval


def found(*ranks: int) -> np.ndarray:
    return np.array(ranks, dtype=np.int64)


def test_ranks_of_relevant_documents_rise() -> None:
    """Scores 0.9 0.8 0.7 0.1, of which the second and the last are relevant."""
    scores, relevant = np.array([0.9, 0.8, 0.7, 0.1]), np.array([False, True, False, True])
    assert retrieval.ranks(scores, relevant).tolist() == [2, 4]
    shuffled = [3, 0, 2, 1]
    assert retrieval.ranks(scores[shuffled], relevant[shuffled]).tolist() == [2, 4]


def test_ties_count_against_the_relevant_document() -> None:
    """A model that gives one vector to all texts finds nothing."""
    scores, relevant = np.zeros(10), np.arange(10) < 2
    assert retrieval.ranks(scores, relevant).tolist() == [9, 10]


def test_every_metric_by_hand() -> None:
    """Three relevant documents at ranks 1, 4 and 12."""
    one = retrieval.measures(found(1, 4, 12))
    assert one["recall@1"] == pytest.approx(1 / 3)
    assert one["recall@5"] == pytest.approx(2 / 3)
    assert one["recall@10"] == pytest.approx(2 / 3)
    assert one["mrr"] == 1.0
    assert one["map"] == pytest.approx((1 / 1 + 2 / 4 + 3 / 12) / 3)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert one["ndcg@10"] == pytest.approx((1 + 1 / math.log2(5)) / ideal)


def test_a_single_relevant_document() -> None:
    """With one relevant document MAP is MRR, and nDCG its discount."""
    one = retrieval.measures(found(3))
    assert one["mrr"] == one["map"] == pytest.approx(1 / 3)
    assert one["ndcg@10"] == pytest.approx(1 / math.log2(4))
    assert (one["recall@1"], one["recall@5"]) == (0.0, 1.0)
    assert retrieval.measures(found(11))["ndcg@10"] == 0.0


def test_more_relevant_documents_than_places() -> None:
    """The best possible ranking of 20 relevant documents has gain 1."""
    assert retrieval.ndcg(np.arange(1, 21), 10) == pytest.approx(1.0)
    assert retrieval.recall(np.arange(1, 21), 10) == 0.5


def test_agrees_with_a_slow_ranking() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores, relevant = rng.normal(size=30).round(1), rng.random(30) < 0.2
        if not relevant.any():
            continue
        order = sorted(range(30), key=lambda at: (-scores[at], relevant[at]))
        slow = [place for place, at in enumerate(order, start=1) if relevant[at]]
        assert retrieval.ranks(scores, relevant).tolist() == slow
