"""Perplexity ``exp(sum of negative log-likelihoods / number of tokens)``, in natural units.

The trap: it is the exponential of *one* ratio over all tokens, never a mean of the perplexities of sequences.
"""

from __future__ import annotations

import math


def perplexity(nll: float, tokens: float) -> float:
    """Perplexity of ``tokens`` predictions that cost ``nll`` nats together; infinite beyond the range of a float."""
    if tokens <= 0:
        raise ValueError(f"perplexity needs at least one token, got {tokens}")
    try:
        return math.exp(nll / tokens)
    except OverflowError:
        return math.inf
