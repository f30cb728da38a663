"""How predicted numbers go with wanted ones: mean squared error, Pearson's and Spearman's correlation.

Spearman's is Pearson's of the ranks, equal numbers sharing the mean of their ranks. Both are 0 where one side is
constant, of which no correlation is defined.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def squared_error(wanted: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    """Mean of squared differences ``[n]``."""
    return float(np.square(said - wanted).mean())


def pearson(wanted: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    """Linear correlation in -1 … 1."""
    one, other = wanted - wanted.mean(), said - said.mean()
    below = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / below if below > 0 else 0.0


def spearman(wanted: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    """Correlation of ranks in -1 … 1."""
    return pearson(ranks(wanted), ranks(said))


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1 ``[n]``, ties sharing their mean."""
    ordered = np.sort(values)
    first = np.searchsorted(ordered, values, side="left")
    last = np.searchsorted(ordered, values, side="right")
    return (first + last + 1) / 2.0
