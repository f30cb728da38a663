"""Area under the ROC curve: how often a text of a class has a higher score for it than a text of another class.

    A = P(z⁺ > z⁻) + ½ P(z⁺ = z⁻)        for several classes: the mean of each class against the rest

Each text's part (DeLong et al. 1988, equation 5) is scaled so that the parts' mean is A; redrawing texts and averaging
their parts gives DeLong's interval, without a sort a draw.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def auroc_parts(scores: NDArray[np.float64], wanted: NDArray[np.int64]) -> NDArray[np.float64]:
    """``[n]``, whose mean is the area, from ``scores [n, C]`` and classes ``wanted [n]``.

    With two classes the second one is told from the first. Classes without a text, or with all of them, are left out;
    not a number where none is left.
    """
    classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    margin = scores[:, 1:] - scores[:, :1] if scores.shape[1] == 2 else scores
    usable = [(at, one) for at, one in enumerate(classes) if 0 < int((wanted == one).sum()) < len(wanted)]
    if not usable:
        return np.full(len(wanted), np.nan)
    return np.asarray(np.mean([binary_parts(margin[:, at], wanted == one) for at, one in usable], axis=0))


def binary_parts(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The same for one class: ``scores [n]``, both kinds present."""
    high, low = np.sort(scores[positive]), np.sort(scores[~positive])
    share = np.empty(len(scores))
    share[positive] = _mean_rank(low, scores[positive])
    share[~positive] = 1.0 - _mean_rank(high, scores[~positive])
    area = float(share[positive].mean())
    n = len(scores)
    scale = np.where(positive, n / len(high), n / len(low))
    return np.asarray(area + scale * (share - area))


def _mean_rank(ordered: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of ``ordered`` below each value, ties counting half."""
    below = np.searchsorted(ordered, values, side="left")
    upto = np.searchsorted(ordered, values, side="right")
    return (below + upto) / (2 * len(ordered))
