"""Win rate: how often one of two answers is preferred, ties counting half.

    (wins + ties / 2) / comparisons

The trap: a judge that prefers what stands first. Ask twice with the order swapped and give a prompt's mean as its vote.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.metrics.intervals import Estimate, mean_interval


def win_rate(votes: Sequence[float], *, seed: int = 0) -> Estimate:
    """The share won from one vote a prompt in 0..1: 1 won, 0.5 tied, 0 lost. Raises ``ValueError`` where there is none.

    A prompt is a unit, so votes of several judges on one prompt are to be averaged first.
    """
    if any(not 0.0 <= vote <= 1.0 for vote in votes):
        raise ValueError(f"votes are in 0..1, got {min(votes)} to {max(votes)}")
    return mean_interval(votes, seed=seed)
