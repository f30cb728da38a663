"""Length bias and calibration of rewards, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tunesmith.evaluation.rated import rated


def of(margin: list[float], length: list[float]) -> dict[str, float]:
    statistics = rated({"margin": np.array(margin), "length_margin": np.array(length)})
    assert statistics is not None
    return dict(statistics(np.arange(len(margin))))


def test_rewards_that_follow_length_are_biased() -> None:
    assert of([1.0, 2.0, 3.0], [10.0, 20.0, 30.0])["length_bias"] == pytest.approx(1.0)
    assert of([1.0, 2.0, 3.0], [30.0, 20.0, 10.0])["length_bias"] == pytest.approx(-1.0)
    assert of([1.0, 1.0], [5.0, 9.0])["length_bias"] == 0.0


def test_calibration_by_hand() -> None:
    """log 3 is 3/4 sure: right in two of four pairs it is 1/4 too sure; a tie is as sure as it is right."""
    sure = math.log(3.0)
    assert of([sure, sure, -sure, -sure], [0.0, 1.0, 2.0, 3.0])["calibration_error"] == pytest.approx(0.25)
    assert of([sure, sure, sure, -sure], [0.0, 1.0, 2.0, 3.0])["calibration_error"] == pytest.approx(0.0)
    assert of([0.0, 0.0], [1.0, 2.0])["calibration_error"] == 0.0


def test_other_objectives_have_none() -> None:
    assert rated({"margin": np.zeros(2)}) is None
