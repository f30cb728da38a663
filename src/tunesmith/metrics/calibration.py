"""Expected calibration error (Naeini et al. 2015; Guo et al. 2017, equation 3): is 80% sure right 80% of the time?

    ECE = Σ_b n_b / n · | share right in b − mean confidence in b |        over 15 bins of equal width

Trap: it is biased upwards on few texts, because chance parts right from sure in every bin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 15


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_] | NDArray[np.float64]) -> float:
    """From the probability of what was said ``[n]`` in 0 … 1 and whether (or how far) it was right ``[n]``."""
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gap = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gap).sum() / len(confidence))
