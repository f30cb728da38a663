"""How surprised a model is by text: perplexity, and bits per byte.

    perplexity = exp(Σ nll / Σ tokens)        bits per byte = Σ nll / (ln 2 · Σ bytes of the predicted text in UTF-8)

The traps: perplexity is the exponential of *one* ratio over all tokens, never a mean of the perplexities of sequences;
and it is of tokens, so that only bits per byte compares models with different tokenizers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tunesmith.metrics.base import Array, Figure, ratio
from tunesmith.metrics.intervals import Estimate


@dataclass(frozen=True)
class Losses:
    """Of every sequence, float64 ``[U]``: ``nll`` in nats, ``tokens`` predicted, and ``bytes`` of their text."""

    nll: Array
    tokens: Array
    bytes: Array


class LossMetric(Figure):
    """Base of the metrics of the rows' own answers or texts, nothing being generated."""

    lower_is_better: ClassVar[bool] = True

    def parts(self, losses: Losses) -> Array:
        """``[U, 2]``: what is summed above and below the line."""
        raise NotImplementedError

    def of(self, losses: Losses, *, seed: int = 0) -> Estimate:
        """The figure with its 95% interval."""
        return self.interval(self.parts(losses), seed=seed)


class Perplexity(LossMetric):
    """How many tokens a model wavers between, on the rows' answers or text; 1 is certainty.

    A threshold is the most that passes. Models with different tokenizers compare by `bits_per_byte` only.
    """

    NAME: ClassVar[str] = "perplexity"

    def parts(self, losses: Losses) -> Array:
        """Nats and tokens."""
        return np.stack([losses.nll, losses.tokens], axis=1)

    def value(self, sums: Array) -> Array:
        """Nats a token to perplexity."""
        with np.errstate(over="ignore"):
            return np.exp(ratio(sums))


class BitsPerByte(LossMetric):
    """Bits that the model needs for a byte of the rows' answers or text: comparable between tokenizers."""

    NAME: ClassVar[str] = "bits_per_byte"
    paper: ClassVar[str] = "Gao et al. 2020, arXiv:2101.00027 (section 3.1)"

    def parts(self, losses: Losses) -> Array:
        """Bits and bytes."""
        return np.stack([losses.nll / math.log(2), losses.bytes], axis=1)

    def value(self, sums: Array) -> Array:
        """Bits over bytes."""
        return ratio(sums)


def perplexity(nll: float, tokens: float) -> float:
    """Perplexity of ``tokens`` predictions that cost ``nll`` nats together; infinite beyond the range of a float."""
    if tokens <= 0:
        raise ValueError(f"perplexity needs at least one token, got {tokens}")
    try:
        return math.exp(nll / tokens)
    except OverflowError:
        return math.inf
