"""From the scores of a question's windows to the answer that is given, as SQuAD's evaluation reads it.

The answer is the span of the context with the largest ``s_start + e_end`` among spans that do not end before they
start, are not longer than allowed and lie in one window; of all windows the best one counts. Where a question may have
no answer, ``s_0 + e_0`` of the first token is what an answer has to beat, in the window that is least sure of none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.framing import Window


@dataclass(frozen=True)
class Found:
    """A span of a context in characters (``left`` = ``right``: no answer), and how far it is above no answer."""

    left: int
    right: int
    score: float


def best_answer(
    pieces: Sequence[Window], scores: Sequence[NDArray[np.float64]], *, longest: int, unanswerable: bool
) -> Found:
    """The answer from all windows of one context; ``scores`` are ``[T, 2]`` for each of them."""
    answers = [_best_in(piece, one, longest) for piece, one in zip(pieces, scores, strict=True)]
    best = max(answers, key=lambda answer: answer.score)
    none = min(float(one[0].sum()) for one in scores)
    if unanswerable and none >= best.score:
        return Found(0, 0, none - best.score)
    return Found(best.left, best.right, best.score - none)


def _best_in(piece: Window, scores: NDArray[np.float64], longest: int) -> Found:
    inside = scores[piece.first : piece.last]
    start, end = inside[:, 0], inside[:, 1]
    best, place = -np.inf, (0, 0)
    for width in range(min(longest, len(inside))):
        total = start[: len(start) - width] + end[width:]
        at = int(total.argmax())
        if total[at] > best:
            best, place = float(total[at]), (at, at + width)
    return Found(piece.spans[place[0]][0], piece.spans[place[1]][1], best)
