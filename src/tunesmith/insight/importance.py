"""Which trained parameters matter: the diagonal of the Fisher information on held-out rows.

    F_i = 1/N Σ_n g_i(row_n)²          (empirical Fisher, one gradient ``g`` a row: ``insight.rows``)

A layer's share of the whole says where a change would hurt the answers most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tunesmith.errors import UserError
from tunesmith.insight.rows import refuse_coupled, row_gradient
from tunesmith.insight.subject import Subject, blocks_of, places

ROWS = 32


def look(subject: Subject, *, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """``{rows, layers: [{name, block, kind, parameters, share, mean}]}``; shares add up to 1."""
    refuse_coupled(subject)
    names = trained(subject)
    total = [torch.zeros_like(value, dtype=torch.float64) for value in names.values()]
    examples = subject.examples[:ROWS]
    for number, example in enumerate(examples):
        tell(f"row {number + 1} of {len(examples)}")
        for place, gradient in enumerate(row_gradient(subject, list(names.values()), example)):
            if gradient is not None:
                total[place] += gradient.double() ** 2
    where = places(dict.fromkeys(map(module_of, names)), blocks_of(subject.policy.model))
    layers: dict[str, dict[str, Any]] = {}
    for name, value in zip(names, total, strict=True):
        path = module_of(name)
        block, kind = where[path]
        layer = layers.setdefault(path, {"name": path, "block": block, "kind": kind, "parameters": 0, "sum": 0.0})
        layer["parameters"] += value.numel()
        layer["sum"] += float(value.sum()) / len(examples)
    whole = sum(layer["sum"] for layer in layers.values()) or 1.0
    for layer in layers.values():
        fisher = layer.pop("sum")
        layer |= {"share": fisher / whole, "mean": fisher / layer["parameters"]}
    return {"rows": len(examples), "layers": list(layers.values())}


def trained(subject: Subject) -> dict[str, torch.nn.Parameter]:
    """Every trained parameter by name; a ``UserError`` where there are no rows to measure them on."""
    if not subject.examples:
        raise UserError("the run has no held-out rows to measure on", code="cannot-inspect")
    return {name: value for group in subject.attached.groups() for name, value in group.parameters.items()}


def module_of(name: str) -> str:
    """The module a stored parameter belongs to: ``base_model.model.x.lora_A.weight`` -> ``x``."""
    words = name.removeprefix("base_model.model.").split(".")
    while len(words) > 1 and (
        words[-1] in ("weight", "bias") or words[-1].startswith(("lora_", "ia3_", "hada_", "lokr_"))
    ):
        words.pop()
    return ".".join(words)
