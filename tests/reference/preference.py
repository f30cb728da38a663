"""Losses of a pair of answers, written out with Python's ``math`` on one pair of log-ratios, in float64.

``won`` and ``lost`` are the log-ratios of the chosen and the rejected answer to their reference.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

NOISE = 1e-3


def sigma(x: float) -> float:
    return 1.0 / (1.0 + exp(-x)) if x >= 0 else exp(x) / (1.0 + exp(x))


def slope(h: float, divergence: str, alpha: float) -> float:
    """Derivatives of the divergences' generators ``f`` at ``u = e^h`` (Wang et al. 2024, table 1)."""
    u = exp(h)
    if divergence == "reverse-kl":  # f = u log u
        return log(u) + 1.0
    if divergence == "forward-kl":  # f = −log u
        return -1.0 / u
    if divergence == "jensen-shannon":  # f = u log u − (u + 1) log((u + 1) / 2)
        return log(2.0 * u / (1.0 + u))
    return (1.0 - u ** (-alpha)) / alpha


def loss(
    name: str,
    won: float,
    lost: float,
    *,
    beta: float,
    smoothing: float,
    divergence: str = "reverse-kl",
    alpha: float = 0.5,
) -> float:
    """One loss of ``tunesmith.objectives.preference_loss``, by its name."""
    d = beta * (slope(won, divergence, alpha) - slope(lost, divergence, alpha))
    e, n = smoothing, max(smoothing, NOISE)
    p = sigma(d)
    m = sigma(d / 0.05)
    table: dict[str, Callable[[], float]] = {
        "sigmoid": lambda: -(1 - e) * log(p) - e * log(1 - p),
        "robust": lambda: (-(1 - e) * log(p) + e * log(1 - p)) / (1 - 2 * e),
        "hinge": lambda: max(0.0, 1.0 - d),
        "ipo": lambda: (d / beta - 1.0 / (2.0 * beta)) ** 2,
        "exo": lambda: p * log(p / (1 - n)) + (1 - p) * log((1 - p) / n),
        "nca": lambda: -log(sigma(beta * won)) - 0.5 * log(sigma(-beta * won)) - 0.5 * log(sigma(-beta * lost)),
        "sppo": lambda: (won - 0.5 / beta) ** 2 + (lost + 0.5 / beta) ** 2,
        "apo-zero": lambda: 1 - sigma(beta * won) + sigma(beta * lost),
        "apo-down": lambda: sigma(beta * won) + 1 - sigma(beta * (won - lost)),
        "discopop": lambda: -(1 - m) * log(p) + m * exp(-d),
    }
    return table[name]()


def gradient(function: Callable[[float, float], float], won: float, lost: float) -> tuple[float, float]:
    """The derivatives of ``function`` by both, as central differences of fourth order."""
    by_won = difference(lambda x: function(x, lost), won)
    return by_won, difference(lambda x: function(won, x), lost)


def difference(function: Callable[[float], float], at: float, step: float = 1e-5) -> float:
    """The derivative of ``function``, by a central difference of fourth order."""
    near = function(at + step) - function(at - step)
    far = function(at + 2 * step) - function(at - 2 * step)
    return (8 * near - far) / (12 * step)
