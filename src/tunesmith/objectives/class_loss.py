"""Losses over class scores ``z [N, C]``, each a value a row; all in float32 (float64 for float64 scores).

One class, smoothed by ε (Szegedy et al. 2016, section 7):

    ℓ_i = − Σ_c q_ic log softmax(z_i)_c        q_ic = (1 − ε) [c = y_i] + ε / C

any number of classes, with weights ``v_c`` of present ones (targets smoothed towards ½):

    ℓ_i = − (1 / C) Σ_c [ v_c q_ic log σ(z_ic) + (1 − q_ic) log σ(−z_ic) ]        q_ic = (1 − ε) y_ic + ε / 2

Shape legend: ``N`` rows, ``C`` classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def cross_entropy(scores: torch.Tensor, labels: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """``[N]`` from ``scores [N, C]`` and classes ``labels`` int64 ``[N]``."""
    import torch

    log_p = torch.log_softmax(scores, dim=-1)
    own = log_p.gather(1, labels[:, None])[:, 0]
    return -own if smoothing == 0.0 else -(1.0 - smoothing) * own - smoothing * log_p.mean(dim=-1)


def binary_cross_entropy(
    scores: torch.Tensor, present: torch.Tensor, *, weights: torch.Tensor | None = None, smoothing: float = 0.0
) -> torch.Tensor:
    """``[N]`` from ``scores [N, C]`` and ``present`` (0 or 1) ``[N, C]``; ``weights [C]`` of present classes."""
    from torch.nn.functional import logsigmoid

    wanted = present.to(scores.dtype) * (1.0 - smoothing) + smoothing / 2
    heavy = wanted if weights is None else wanted * weights.to(scores)
    return -(heavy * logsigmoid(scores) + (1.0 - wanted) * logsigmoid(-scores)).mean(dim=-1)
