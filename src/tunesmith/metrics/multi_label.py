"""F1 where a text has any number of labels.

With ``t_c`` labels both wanted and said, ``w_c`` wanted, ``s_c`` said, over all texts:

    micro F1 = 2 Σt / (Σw + Σs)        macro F1 = mean of 2 t_c / (w_c + s_c) over labels that are wanted or said
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def micro_f1(wanted: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """F1 of all decisions ``[n, C]`` together; 1 where nothing is wanted and nothing said."""
    both = int(wanted.sum()) + int(said.sum())
    return 2 * int((wanted & said).sum()) / both if both else 1.0


def micro_precision(wanted: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """The share of labels said that are wanted, of all ``[n, C]`` together; 1 where none is said."""
    return int((wanted & said).sum()) / int(said.sum()) if said.any() else 1.0


def micro_recall(wanted: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """The share of labels wanted that are said, of all ``[n, C]`` together; 1 where none is wanted."""
    return micro_precision(said, wanted)


def macro_f1(wanted: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """The mean F1 of the labels that occur in ``[n, C]``; 1 where none does."""
    both = wanted.sum(axis=0) + said.sum(axis=0)
    present = both > 0
    if not present.any():
        return 1.0
    return float((2 * (wanted & said).sum(axis=0)[present] / both[present]).mean())
