"""Learning-rate schedules against their closed forms."""

from __future__ import annotations

import math

import pytest

from tunesmith.engine.schedules import SHAPES, schedule, warmup_steps


def factors(name: str, total: int, warmup: float) -> list[float]:
    factor = schedule(name, total=total, warmup=warmup)
    return [factor(step) for step in range(total)]


@pytest.mark.parametrize(
    ("warmup", "total", "updates"),
    [(0.0, 10, 0), (0.03, 100, 3), (0.03, 10, 0), (0.5, 7, 4), (1.0, 10, 1), (5, 10, 5), (50, 10, 10), (0.999, 10, 10)],
)
def test_warm_up_is_a_share_below_one_and_a_number_from_one_on(warmup: float, total: int, updates: int) -> None:
    assert warmup_steps(warmup, total) == updates


@pytest.mark.parametrize("name", SHAPES)
def test_warm_up_rises_from_one_part_to_all(name: str) -> None:
    """The first update of four has a quarter of the rate, never nothing; the fourth has all of it."""
    assert factors(name, 40, 4)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_constant() -> None:
    assert factors("constant", 6, 0) == [1.0] * 6


def test_linear() -> None:
    assert factors("linear", 5, 0) == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert factors("linear", 6, 1) == pytest.approx([1.0, 1.0, 0.8, 0.6, 0.4, 0.2])


def test_cosine() -> None:
    half = math.sqrt(0.5)
    assert factors("cosine", 4, 0) == pytest.approx([1.0, (1 + half) / 2, 0.5, (1 - half) / 2])


def test_warmup_stable_decay() -> None:
    """Full until four fifths of the way, then down in a straight line."""
    assert factors("warmup-stable-decay", 10, 0) == pytest.approx([1.0] * 9 + [0.5])
    assert factors("warmup-stable-decay", 20, 0)[15:] == pytest.approx([1.0, 1.0, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (1, 5), (2, 0.5), (3, 3), (100, 0.03)])
def test_factors_stay_between_nothing_and_all(name: str, total: int, warmup: float) -> None:
    assert all(0.0 < factor <= 1.0 for factor in factors(name, total, warmup))
    assert 0.0 <= schedule(name, total=total, warmup=warmup)(total + 5) <= 1.0
