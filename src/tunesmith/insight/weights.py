"""How the weights changed: how far, in how many directions, and whether new directions intrude.

    change          ||W' - W||_F / ||W||_F
    effective rank  exp(-Σ pᵢ ln pᵢ),  pᵢ = σᵢ(ΔW) / Σ σ     (Roy & Vetterli 2007)
    intruders       of the top k left singular vectors of W', those with max_i |cos(u'ⱼ, uᵢ)| < ε
                    (Shuttleworth et al. 2024, arXiv:2410.21228: k = 10, ε = 0.5)

Intruder dimensions are directions that the base did not have and that are now among its strongest: the mark of LoRA
runs with a high rate, and of models that forget more. The trap: one decomposition of a matrix
of 4096² takes seconds on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tunesmith.insight.subject import Subject, blocks_of, places
from tunesmith.models.linears import is_linear, view

TOP = 10
COSINE = 0.5
SPECTRUM = 32
"""Largest singular values of a change that are kept for a picture."""
UNCHANGED = 1e-7
"""A relative change below this is rounding."""


def look(subject: Subject, *, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """``{layers: [{name, block, kind, change, effective_rank, stable_rank, intruders, cosines, spectrum}]}``."""
    base, tuned = subject.plain()
    blocks, after = blocks_of(base), dict(tuned.named_modules())
    linears = places((path for path, module in base.named_modules() if is_linear(module)), blocks)
    layers = []
    for path, (block, kind) in linears.items():
        if block < 0:
            continue
        tell(path)
        before = _weight(base.get_submodule(path))
        measured = compare(before, _weight(after[path]))
        layers.append({"name": path, "block": block, "kind": kind, **measured})
    return {"top": TOP, "cosine": COSINE, "layers": layers}


@torch.no_grad()
def compare(before: torch.Tensor, after: torch.Tensor) -> dict[str, Any]:
    """All measures of one weight, ``[out, in]`` before and after."""
    before, after = before.float(), after.float()
    delta = after - before
    change = float(delta.norm() / before.norm())
    if change < UNCHANGED:
        none: dict[str, Any] = {"effective_rank": 0.0, "stable_rank": 0.0, "intruders": 0, "cosines": []}
        return {"change": change, **none, "spectrum": []}
    values = torch.linalg.svdvals(delta)
    old, new = (torch.linalg.svd(matrix, full_matrices=False).U for matrix in (before, after))
    top = min(TOP, new.shape[1])
    cosines = (old.T @ new[:, :top]).abs().amax(0)
    return {
        "change": change,
        "effective_rank": effective_rank(values),
        "stable_rank": float((values**2).sum() / values[0] ** 2),
        "intruders": int((cosines < COSINE).sum()),
        "cosines": cosines.tolist(),
        "spectrum": values[:SPECTRUM].tolist(),
    }


def effective_rank(values: torch.Tensor) -> float:
    """Of singular values ``[n]``: 1 for one direction, ``n`` for ``n`` equal ones."""
    share = values[values > 0] / values.sum()
    return float(torch.exp(-(share * share.log()).sum()))


def _weight(module: nn.Module) -> torch.Tensor:
    return view(module).dense().detach()
