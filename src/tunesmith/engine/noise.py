"""How much of an update's gradient is noise, from the gradients of its micro-batches.

    |G|² ≈ (|g|² - Σ_k |g_k|²) / (1 - Σ_k w_k²)          tr Σ / B ≈ |g|² - |G|²

after McCandlish et al. 2018 (arXiv:1812.06162, eq. 2.8, appendix A.1), for micro-batches of any size: ``g_k`` is what
micro-batch ``k`` adds to the update's gradient ``g``, ``w_k`` its share of the units that carry loss. Rows are
independent, so for k ≠ l the mean of ``g_k · g_l`` is ``w_k w_l |G|²``, and nothing is asked of how noise grows with
size; micro-batches of one size give the paper's formulas. Both sides are unbiased in every update and vary wildly in a
single one: whoever divides them sums them over many updates first (``diagnosis.noise``).

The traps: a gradient is seen before it is added up, by a hook, so that no copy of it is needed; a low-precision one is
squared in float32. Rows of a micro-batch are of alike length, so what differs by length counts as noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

EVERY = 4
"""Updates between measurements: a measurement reads every gradient of every micro-batch once more."""


@dataclass(frozen=True)
class Noise:
    """Of one update: ``signal`` |G|² and ``noise`` tr Σ / B (either may come out below 0), of ``examples`` B."""

    signal: float
    noise: float
    examples: int


@dataclass
class Squares:
    """The squared norms of gradients, added up as they come."""

    _norms: list[torch.Tensor] = field(default_factory=list)

    def take(self, gradient: torch.Tensor) -> None:
        """Add one gradient, of any dtype."""
        self._norms.append(torch.linalg.vector_norm(gradient.detach(), dtype=torch.float32))

    @property
    def total(self) -> float:
        """Σ of the squares so far."""
        return float(torch.stack(self._norms).double().square().sum()) if self._norms else 0.0


@contextmanager
def watched(parameters: Iterable[nn.Parameter]) -> Iterator[Squares]:
    """Within it every gradient that reaches one of ``parameters`` is squared; the gradients stay what they are."""
    squares = Squares()
    hooks = [parameter.register_hook(squares.take) for parameter in parameters]
    try:
        yield squares
    finally:
        for hook in hooks:
            hook.remove()


def estimate(norm: float, squares: float, units: Sequence[float], *, examples: int) -> Noise | None:
    """The estimate from |g| (``norm``), Σ |g_k|² and the ``units`` of each micro-batch; None for less than two.

    ``norm`` must be that of the micro-batches' gradients alone, without any penalty's.
    """
    whole = sum(units)
    apart = 1.0 - sum((one / whole) ** 2 for one in units) if whole else 0.0
    if apart <= 0.0:
        return None
    signal = (norm**2 - squares) / apart
    return Noise(signal, norm**2 - signal, examples)
