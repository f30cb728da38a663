"""Losses of a pair of answers from their log-probabilities: the direct-alignment family, each a value a pair ``[E]``.

With ``h = log π(y|x) − log π_ref(y|x)`` of the chosen (w) and the rejected (l) answer, ``u = β h``, and

    δ = β [ f'(e^{h_w}) − f'(e^{h_l}) ]        f' of the divergence that holds the policy to the reference

    sigmoid    −(1−ε) log σ(δ) − ε log σ(−δ)   Rafailov et al. 2023, DPO, eq. 7; ε > 0: Mitchell 2023, cDPO, eq. 3
    robust     [ −(1−ε) log σ(δ) + ε log σ(−δ) ] / (1−2ε)      Chowdhury et al. 2024, rDPO, eq. 12
    hinge      max(0, 1 − δ)                   Zhao et al. 2023, SLiC-HF, eq. 1, with DPO's δ as in Liu et al. 2024, RSO
    ipo        ((δ − ½) / β)²                  Azar et al. 2023, eq. 17, τ = β
    exo        KL( (σ(δ), σ(−δ)) ‖ (1−ε, ε) )  Ji et al. 2024, EXO, eq. 16
    nca        −log σ(u_w) − ½ log σ(−u_w) − ½ log σ(−u_l)     Chen et al. 2024, NCA, pairs
    sppo       [ (u_w − ½)² + (u_l + ½)² ] / β²                Wu et al. 2024, SPPO, eq. 4.7, certain preferences
    apo-zero   σ(−u_w) + σ(u_l)                D'Oosterlinck et al. 2024, APO, eq. 7
    apo-down   σ(u_w) + σ(u_l − u_w)           D'Oosterlinck et al. 2024, APO, eq. 8
    discopop   (1−m) (−log σ(δ)) + m e^{−δ},  m = σ(δ / 0.05)  Lu et al. 2024, DiscoPOP, eq. 5

Divergences (Wang et al. 2024, Beyond Reverse KL, table 1), up to constants that cancel: reverse KL ``h``; forward KL
``−e^{−h}``; Jensen-Shannon ``log σ(h)``; α-divergence ``(1 − e^{−αh}) / α``.

Shape legend: ``E`` pairs. The trap: IPO's and SPPO's sums grow with the length of answers (``length_normalised``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn.functional import logsigmoid

Divergence = Literal["reverse-kl", "forward-kl", "jensen-shannon", "alpha"]
LARGEST = 40.0
"""Exponents are held below this, so that e^x and its square are finite in float32."""
LEAST_NOISE = 1e-3
"""EXO's ε where none is given: its target must leave something to the rejected answer."""
DISCOPOP_TAU = 0.05


@dataclass(frozen=True)
class Compared:
    """What losses read: ``chosen`` and ``rejected`` are ``u``, ``delta`` is ``δ``, each ``[E]``."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    delta: torch.Tensor
    beta: float
    smoothing: float = 0.0


def compared(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    *,
    beta: float,
    smoothing: float = 0.0,
    divergence: Divergence = "reverse-kl",
    alpha: float = 0.5,
) -> Compared:
    """From log-ratios ``h`` of chosen and rejected answers, each ``[E]``."""
    delta = beta * (slope(chosen, divergence, alpha) - slope(rejected, divergence, alpha))
    return Compared(beta * chosen, beta * rejected, delta, beta, smoothing)


def slope(ratio: torch.Tensor, divergence: Divergence, alpha: float) -> torch.Tensor:
    """``f'(e^h)`` up to a constant, of log-ratios ``h [E]``."""
    if divergence == "reverse-kl":
        return ratio
    if divergence == "forward-kl":
        return -torch.exp((-ratio).clamp(max=LARGEST))
    if divergence == "jensen-shannon":
        return logsigmoid(ratio)
    return (1.0 - torch.exp((-alpha * ratio).clamp(max=LARGEST))) / alpha


def sigmoid(pair: Compared) -> torch.Tensor:
    """DPO; with smoothing cDPO."""
    return -(1.0 - pair.smoothing) * logsigmoid(pair.delta) - pair.smoothing * logsigmoid(-pair.delta)


def robust(pair: Compared) -> torch.Tensor:
    """DPO made unbiased under labels of which a share ε is wrong (ε < ½)."""
    wrong = pair.smoothing
    loss = -(1.0 - wrong) * logsigmoid(pair.delta) + wrong * logsigmoid(-pair.delta)
    return loss / (1.0 - 2.0 * wrong)


def hinge(pair: Compared) -> torch.Tensor:
    """No loss beyond a margin of 1."""
    return torch.relu(1.0 - pair.delta)


def ipo(pair: Compared) -> torch.Tensor:
    """The squared distance of the log-ratio's difference from 1/2β."""
    return ((pair.delta - 0.5) / pair.beta).square()


def exo(pair: Compared) -> torch.Tensor:
    """The reverse KL from what the policy prefers to what the labels say."""
    from math import log, log1p

    noise = max(pair.smoothing, LEAST_NOISE)
    won, lost = logsigmoid(pair.delta), logsigmoid(-pair.delta)
    return won.exp() * (won - log1p(-noise)) + lost.exp() * (lost - log(noise))


def nca(pair: Compared) -> torch.Tensor:
    """Noise contrast: raises the chosen answer's own likelihood, not only the difference."""
    return -logsigmoid(pair.chosen) - 0.5 * logsigmoid(-pair.chosen) - 0.5 * logsigmoid(-pair.rejected)


def sppo(pair: Compared) -> torch.Tensor:
    """Self-play: the chosen log-ratio towards 1/2β, the rejected towards −1/2β."""
    return ((pair.chosen - 0.5).square() + (pair.rejected + 0.5).square()) / pair.beta**2


def apo_zero(pair: Compared) -> torch.Tensor:
    """For chosen answers that are better than the model's: chosen up, rejected down."""
    return torch.sigmoid(-pair.chosen) + torch.sigmoid(pair.rejected)


def apo_down(pair: Compared) -> torch.Tensor:
    """For chosen answers that are worse than the model's: both down, rejected more."""
    return torch.sigmoid(pair.chosen) + torch.sigmoid(pair.rejected - pair.chosen)


def discopop(pair: Compared) -> torch.Tensor:
    """A blend of the logistic and the exponential loss, found by a language model."""
    share = torch.sigmoid(pair.delta / DISCOPOP_TAU)
    return (1.0 - share) * -logsigmoid(pair.delta) + share * torch.exp((-pair.delta).clamp(max=LARGEST))


LOSSES: Mapping[str, Callable[[Compared], torch.Tensor]] = {
    "sigmoid": sigmoid,
    "robust": robust,
    "hinge": hinge,
    "ipo": ipo,
    "exo": exo,
    "nca": nca,
    "sppo": sppo,
    "apo-zero": apo_zero,
    "apo-down": apo_down,
    "discopop": discopop,
}


def log_odds(mean: torch.Tensor) -> torch.Tensor:
    """``log p/(1−p)`` of mean log-probabilities ``log p [E]`` below 0: ``m − log(1 − e^m)`` without cancellation."""
    near = mean > -0.6931471805599453
    # the branch that is not taken must be finite too, or its gradient is not a number
    small = torch.log(-torch.expm1(torch.where(near, mean.clamp(max=-1e-12), -1.0)))
    large = torch.log1p(-torch.exp(torch.where(near, -1.0, mean)))
    return mean - torch.where(near, small, large)
