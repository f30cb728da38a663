"""Which side a row is on: what is tied stays together, nothing moves when rows are added, strata get their share."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from tunesmith.data.ledger import BETWEEN, LATER
from tunesmith.data.sides import LEFT_OUT, Row, as_array, assign
from tunesmith.data.split import by_share

SHARES = (0.8, 0.2)


def rows(count: int, *, ties: int | None = None, seed: int = 1) -> list[Row]:
    rng = random.Random(seed)
    return [Row(number, (rng.getrandbits(64) if ties is None else rng.randrange(ties),)) for number in range(count)]


def test_without_ties_it_is_the_split_by_share() -> None:
    found = rows(500)
    sides = as_array(assign(found, SHARES, seed=3), 500)
    expected = by_share(np.array([row.ties[0] for row in found], dtype=np.uint64), 0.2, seed=3)
    assert (sides == 1).tolist() == expected.tolist()


def test_rows_added_behind_move_none_and_rows_of_one_tie_are_never_apart() -> None:
    before = [Row(number, (number % 97, 1000 + number % 89)) for number in range(300)]
    added = [Row(number, (number % 97, 5000 + number % 13)) for number in range(300, 600)]
    first, both = assign(before, SHARES, seed=0), assign([*before, *added], SHARES, seed=0)
    assert {number: both.sides[number] for number in first.sides} == first.sides
    for tie in {tie for row in [*before, *added] for tie in row.ties}:
        on = {both.sides[row.number] for row in [*before, *added] if tie in row.ties} - {LEFT_OUT}
        assert len(on) <= 1
    assert set(both.reasons.values()) <= {BETWEEN}


def test_a_bridge_between_two_sides_is_left_out() -> None:
    on = assign(rows(50), SHARES, seed=0)
    train, held = (next(row for row in rows(50) if on.sides[row.number] == side) for side in (0, 1))
    bridge, follower = Row(50, (train.ties[0], held.ties[0], 7)), Row(51, (7,))
    found = assign([*rows(50), bridge, follower], SHARES, seed=0)
    assert (found.sides[50], found.reasons) == (LEFT_OUT, {50: BETWEEN})
    assert found.sides[51] in (0, 1)  # what is left out ties nobody
    assert {number: found.sides[number] for number in on.sides} == on.sides


def test_every_stratum_gets_its_share_to_within_a_row() -> None:
    rng = random.Random(0)
    found = [Row(number, (rng.getrandbits(64),), stratum=rng.choice("aaaaaaabbc")) for number in range(1000)]
    for shares in ((0.9, 0.1), (0.5, 0.5)):
        sides = assign(found, shares, seed=0).sides
        counts = Counter((row.stratum, sides[row.number]) for row in found)
        for stratum in "abc":
            total = counts[stratum, 0] + counts[stratum, 1]
            assert abs(counts[stratum, 1] - shares[1] * total) <= 1.0
    three = assign(found, (0.8, 0.1, 0.1), seed=0).sides
    counts = Counter((row.stratum, three[row.number]) for row in found)
    for stratum in "abc":
        total = sum(counts[stratum, side] for side in range(3))
        assert all(abs(counts[stratum, side] - 0.1 * total) <= 2.0 for side in (1, 2))


def test_strata_do_not_move_rows_either() -> None:
    found = [Row(number, (number * 7919,), stratum="ab"[number % 3 == 0]) for number in range(400)]
    assert assign(found[:250], SHARES, seed=0).sides == {
        number: side for number, side in assign(found, SHARES, seed=0).sides.items() if number < 250
    }


def test_few_rows_leave_no_side_empty() -> None:
    for seed in range(30):
        for count in (2, 3, 5):
            assert set(assign(rows(count, seed=seed), (0.9, 0.1), seed=seed).sides.values()) == {0, 1}
        assert set(assign(rows(4, seed=seed), (0.8, 0.1, 0.1), seed=seed).sides.values()) == {0, 1, 2}
    assert set(assign(rows(5, ties=1), (0.9, 0.1), seed=0).sides.values()) == {0}


def test_given_sides_hold_and_what_is_like_them_is_left_out() -> None:
    later = [Row(0, (1,), given=1), Row(1, (2,), given=1)]
    found = assign([*later, Row(2, (1,), given=0), Row(3, (3,), given=0), Row(4, (3,))], SHARES, seed=0)
    assert found.sides == {0: 1, 1: 1, 2: LEFT_OUT, 3: 0, 4: 0}
    assert found.reasons == {2: LATER}


def test_rows_of_an_earlier_split_stay_even_where_it_was_torn() -> None:
    found = assign([Row(0, (1,), given=1, stays=True), Row(1, (1,), given=0, stays=True), Row(2, (1,))], SHARES, seed=0)
    assert found.sides == {0: 1, 1: 0, 2: LEFT_OUT}
    assert found.torn == 1


@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.6, 0.3, 0.1)])
def test_shares_are_those_asked_for(shares: tuple[float, ...]) -> None:
    counts = Counter(assign(rows(4000), shares, seed=0).sides.values())
    for side, share in enumerate(shares):
        assert abs(counts[side] - 4000 * share) < 4 * (4000 * share * (1 - share)) ** 0.5
