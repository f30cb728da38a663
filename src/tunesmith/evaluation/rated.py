"""What the rewards of compared answers say beyond their means: whether length is taken for quality, and whether a
difference is as sure as it looks.

    length_bias         Pearson's correlation of a pair's reward difference with its difference in tokens
                        (Singhal et al. 2023, A long way to go, section 3)
    calibration_error   of σ(reward difference), which Bradley-Terry takes for the probability of being the better one

The trap: chosen answers may well be better because they are longer; a bias is what stands above the bias of the data,
which is the sign of ``length_margin``.

Shape legend: ``E`` pairs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tunesmith.metrics.calibration import calibration_error
from tunesmith.metrics.correlation import pearson
from tunesmith.metrics.intervals import Statistics

MARGIN, LENGTH = "margin", "length_margin"
CALIBRATION, BIAS = "calibration_error", "length_bias"


def rated(values: Mapping[str, NDArray[np.float64]]) -> Statistics | None:
    """Statistics over the pairs of an objective that measures margins of reward and of length ``[E]``; else None."""
    if MARGIN not in values or LENGTH not in values:
        return None
    margin, length = values[MARGIN], values[LENGTH]

    def statistics(places: NDArray[np.int64]) -> dict[str, float]:
        # how sure, and how often right: a tie is half right, and half sure
        apart = margin[places]
        sure = 0.5 * (1.0 + np.tanh(0.5 * np.abs(apart)))
        right = 0.5 * (1.0 + np.sign(apart))
        return {BIAS: pearson(length[places], apart), CALIBRATION: calibration_error(sure, right)}

    return statistics
