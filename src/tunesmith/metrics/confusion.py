"""What a table of wanted against said classes gives: accuracy, macro F1, Matthews' correlation.

With ``K [C, C]`` (row: wanted, column: said), ``n = ΣK``, ``w = Σ_said K``, ``s = Σ_wanted K``:

    accuracy = tr K / n        F1_c = 2 K_cc / (w_c + s_c), macro: their mean over classes that are wanted or said
    precision_c = K_cc / w_c, recall_c = K_cc / s_c, 0 where that divides by 0; their means over the same classes
    MCC = (n tr K − w·s) / √( (n² − s·s)(n² − w·w) )        (Gorodkin 2004, equation 8)

Trap: micro F1 of texts with one class each is their accuracy, so it is not shown beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def confusion(wanted: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """``[C, C]`` counts of ``wanted [n]`` against ``said [n]``."""
    return np.bincount(wanted * classes + said, minlength=classes * classes).reshape(classes, classes)


def accuracy(table: NDArray[np.int64]) -> float:
    """The share on the diagonal."""
    return float(np.trace(table) / table.sum())


def macro_f1(table: NDArray[np.int64]) -> float:
    """The mean F1 of the classes that occur."""
    both = table.sum(axis=0) + table.sum(axis=1)
    present = both > 0
    return float((2 * np.diagonal(table)[present] / both[present]).mean())


def macro_precision(table: NDArray[np.int64]) -> float:
    """The mean share, over the classes that occur, of what was said to be of a class that is."""
    return _mean_share(table, table.sum(axis=0))


def macro_recall(table: NDArray[np.int64]) -> float:
    """The mean share, over the classes that occur, of what is of a class that was said to be."""
    return _mean_share(table, table.sum(axis=1))


def _mean_share(table: NDArray[np.int64], of: NDArray[np.int64]) -> float:
    present = table.sum(axis=0) + table.sum(axis=1) > 0
    return float((np.diagonal(table) / np.maximum(of, 1))[present].mean())


def matthews(table: NDArray[np.int64]) -> float:
    """Matthews' correlation in -1 … 1; 0 where only one class is wanted, or only one said."""
    wanted, said = table.sum(axis=1).astype(np.float64), table.sum(axis=0).astype(np.float64)
    n = wanted.sum()
    below = (n * n - said @ said) * (n * n - wanted @ wanted)
    return float((n * np.trace(table) - wanted @ said) / np.sqrt(below)) if below > 0 else 0.0
