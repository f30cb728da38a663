"""What layers hold before and after: size, similarity and silent units, on the same rows.

    CKA(X, Y) = ||YᵀX||²_F / (||XᵀX||_F ||YᵀY||_F)     columns centred (Kornblith et al. 2019, arXiv:1905.00414, eq. 3)

1 means that two layers hold the same up to rotation and scale. A unit of an MLP is silent where its largest size over
all tokens is below ``SILENT`` of the layer's mean size.

Shape legend: ``T`` tokens of all rows, ``d`` hidden size, ``m`` units of the MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from tunesmith.errors import UserError
from tunesmith.insight.subject import SIDES, Subject, parts_of, rows_of, stream_of, texts_of
from tunesmith.models.policy import CausalPolicy

ROWS, TOKENS = 32, 2048
SILENT = 0.01


@dataclass
class Seen:
    """Outputs of each block ``[T, d]``, and sizes of each MLP's units ``[T, m]``."""

    hidden: list[torch.Tensor] = field(default_factory=list)
    units: list[torch.Tensor] = field(default_factory=list)


def look(subject: Subject, *, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """``{tokens, blocks: [{block, base_norm, tuned_norm, moved, cka, base_silent, tuned_silent, units}]}``."""
    sequences = _texts(subject)
    seen = {}
    for side in SIDES:
        tell(side)
        with subject.side(side) as policy:
            seen[side] = gathered(policy, sequences)
    base, tuned = seen["base"], seen["tuned"]
    blocks = []
    for number, (one, other) in enumerate(zip(base.hidden, tuned.hidden, strict=True)):
        blocks.append(
            {
                "block": number,
                "base_norm": float(one.norm(dim=1).mean()),
                "tuned_norm": float(other.norm(dim=1).mean()),
                "moved": float(((other - one).norm(dim=1) / one.norm(dim=1)).mean()),
                "cka": cka(one, other),
                **_silent(base, tuned, number),
            }
        )
    return {"tokens": sum(map(len, sequences)), "rows": len(sequences), "blocks": blocks}


def gathered(policy: CausalPolicy, sequences: Sequence[Sequence[int]]) -> Seen:
    """What layers hold for all tokens of ``sequences``, one sequence after the other."""
    parts = []
    for one in sequences:
        with recorded(policy) as seen:
            policy.hidden(stream_of(policy, [one]))
        parts.append(Seen([held[: len(one)] for held in seen.hidden], [held[: len(one)] for held in seen.units]))
    return Seen(
        [torch.cat(held) for held in zip(*(part.hidden for part in parts), strict=True)],
        [torch.cat(held) for held in zip(*(part.units for part in parts), strict=True)],
    )


def cka(one: torch.Tensor, other: torch.Tensor) -> float:
    """Linear centred kernel alignment of ``[T, d]`` and ``[T, e]``, in 0 to 1."""
    x, y = (value.double() - value.double().mean(0) for value in (one, other))
    across = (y.T @ x).norm() ** 2
    return float(across / ((x.T @ x).norm() * (y.T @ y).norm()))


@contextmanager
def recorded(policy: CausalPolicy) -> Iterator[Seen]:
    """Within it blocks and MLPs of ``policy`` write down what they give."""
    found, model = Seen(), policy.model
    parts = parts_of(model)
    hooks = [
        model.get_submodule(path).register_forward_hook(lambda _, __, out: found.hidden.append(rows_of(out)))
        for path in parts.blocks
    ]
    hooks += [
        model.get_submodule(path).register_forward_pre_hook(lambda _, args: found.units.append(rows_of(args[0]).abs()))
        for path in parts.mlp_out
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _silent(base: Seen, tuned: Seen, block: int) -> dict[str, int]:
    """Silent units of one block, where it has one MLP."""
    if len(base.units) != len(base.hidden):
        return {}
    found = {"units": base.units[block].shape[1]}
    for side, seen in (("base", base), ("tuned", tuned)):
        sizes = seen.units[block]
        found[f"{side}_silent"] = int((sizes.amax(0) < SILENT * sizes.mean()).sum())
    return found


def _texts(subject: Subject) -> list[list[int]]:
    found: list[list[int]] = []
    for example in subject.examples[:ROWS]:
        if sum(map(len, found)) + len(example) > TOKENS and found:
            break
        found += texts_of(example)
    if not found:
        raise UserError("the run has no held-out rows to look at", code="cannot-inspect")
    return found
