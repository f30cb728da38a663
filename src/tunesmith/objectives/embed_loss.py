"""Losses of embeddings: pure functions of vectors and cosines, one value an example unless said otherwise.

    contrastive   −log( e^{cos(a_i, p_i)/τ} / Σ_c e^{cos(a_i, c)/τ} ),  c over all positives and hard negatives
                  (InfoNCE: van den Oord et al. 2018, equation 4; in-batch negatives: Henderson et al. 2017, section 4)
    cosent        log( 1 + Σ_{s_i < s_j} e^{(cos_i − cos_j)/τ} )  over all pairs of pairs (Su 2022): one value a batch
    squared       (cos_i − s_i)²                                (Reimers and Gurevych 2019, section 3)
    triplet       mean over negatives of max(0, d(a, p) − d(a, n) + margin)      (Schroff et al. 2015, equation 2)

Shape legend: ``E`` examples, ``C`` candidates, ``M`` negatives, ``d`` dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Values:
    """``values`` float32 ``[E]``; ``hits`` float32 ``[E]``: whether the own positive is the closest, where there are
    others to be closer."""

    values: torch.Tensor
    hits: torch.Tensor | None = None


def contrastive(
    cosines: torch.Tensor, *, temperature: float, hidden: torch.Tensor | None = None, symmetric: bool = False
) -> Values:
    """``cosines [E, C]``, whose column ``i < E`` is the positive of row ``i``.

    ``hidden`` bool ``[E, C]`` marks candidates that are no negatives of a row (the same text as its positive).
    ``symmetric`` is the mean with the loss of positives that look for their anchor among all anchors.
    """
    scores = cosines / temperature
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    own = torch.arange(len(scores), device=scores.device)
    values = F.cross_entropy(scores, own, reduction="none")
    if symmetric:
        back = F.cross_entropy(scores[:, : len(scores)].T, own, reduction="none")
        values = (values + back) / 2
    return Values(values, (scores.detach().argmax(dim=1) == own).float())


def cosent(cosines: torch.Tensor, scores: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """A scalar from ``cosines [E]`` and ``scores [E]``: how far pairs are from the order of their scores."""
    differences = (cosines[:, None] - cosines[None, :]) / temperature
    wrong = differences[scores[:, None] < scores[None, :]]
    return torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong]), dim=0)


def squared(cosines: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """``[E]``."""
    return (cosines - scores).square()


def triplet(near: torch.Tensor, far: torch.Tensor, owner: torch.Tensor, *, margin: float) -> Values:
    """Distances ``near [E]`` to the positives and ``far [M]`` to the negatives, which belong to rows ``owner [M]``."""
    count = near.new_zeros(len(near)).index_add(0, owner, torch.ones_like(far)).clamp_min(1.0)
    hinges = torch.relu(near[owner] - far + margin)
    values = near.new_zeros(len(near)).index_add(0, owner, hinges) / count
    wrong = near.new_zeros(len(near)).index_add(0, owner, (near[owner] >= far).to(near.dtype))
    return Values(values, (wrong == 0).float())
