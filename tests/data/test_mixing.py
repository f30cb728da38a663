"""Mixtures by hand: temperature, cap, and a bound on repeats that hands on what it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_rows import pair

from tunesmith.data.loader import EpochOrder
from tunesmith.data.mixing import mixed, statistics

COUNTS = {0: 900, 1: 90, 2: 10}


def epoch(seen: dict[int, float]) -> float:
    return sum(COUNTS[source] * times for source, times in seen.items())


def test_temperature_and_cap_by_hand() -> None:
    assert mixed(COUNTS, {}) == pytest.approx({0: 1.0, 1: 1.0, 2: 1.0})
    even = mixed(COUNTS, {}, temperature=1e9)
    assert even == pytest.approx({0: 1000 / 3 / 900, 1: 1000 / 3 / 90, 2: 1000 / 3 / 10}, rel=1e-6)
    capped = mixed(COUNTS, {}, cap=100)
    assert capped[0] == pytest.approx(100 / 200 * 1000 / 900)


def test_the_bound_hands_on_what_it_takes() -> None:
    """Even thirds of 1,000: source 2 would be seen 33.3 times; at most 4 leave 960 to two even halves of 480, of which
    source 1 would be seen 5.33 times; at most 4 leave 600 to source 0."""
    bounded = mixed(COUNTS, {}, temperature=1e9, most=4.0)
    assert bounded == pytest.approx({0: 600 / 900, 1: 4.0, 2: 4.0}, rel=1e-6)
    assert epoch(bounded) == pytest.approx(1000)
    assert mixed(COUNTS, {}, temperature=1e9, most=34.0) == pytest.approx(mixed(COUNTS, {}, temperature=1e9))


def test_where_all_are_at_the_bound_the_epoch_is_smaller() -> None:
    assert mixed(COUNTS, {0: 3.0, 1: 3.0, 2: 3.0}, most=0.5) == {0: 0.5, 1: 0.5, 2: 0.5}


def test_statistics_and_that_no_row_is_seen_much_more_often_than_another(ready: Any) -> None:
    prepared = ready([pair(number) for number in range(100, 120)], validation=0.0)
    seen = {0: 2.3}
    (one,) = statistics(prepared.train, ["rows"], {0: 2.3}, seen, epochs=10.0)
    assert (one.rows, one.sequences, one.seen_in_run) == (20, 20, 23.0)
    assert one.tokens == int(prepared.train.lengths.sum())
    assert (one.epoch_share, one.token_share) == (1.0, 1.0)
    order = EpochOrder(prepared.train, seed=0, weights=seen)
    counts = np.bincount(np.concatenate([order.epoch(number) for number in range(10)]), minlength=20)
    assert counts.sum() == 460
    assert counts.min() == counts.max() == 23
