"""Merged = adapter: each adapted layer, its update folded into the base weight, gives the adapter's output.

Layer by layer on real activations, during one forward pass: the layer's own merge is done, its output compared, and the
weight put back bit for bit, so there is one copy of one weight at a time and the model stays as it is.
"""

from __future__ import annotations

from typing import Any

import torch

from tunesmith.methods.insert import Adapted, merged_base
from tunesmith.proof.base import Bounds, Case, Measured, Proof
from tunesmith.proof.keep import stirred

BOUNDS = Bounds(
    float32=1e-5,
    bfloat16=0.01,
    reason="Relative to the output's norm. float32: the order of summation. bfloat16: the merged weight and both "
    "outputs are rounded to 8 bits (2^-9 of each number, less in the sum).",
)


def measure(case: Case) -> Measured:
    """The largest relative difference of a layer's output, merged against adapted."""
    worst = {"": 0.0}
    handles = [layer.register_forward_hook(_compare(worst, name)) for name, layer in _layers(case)]
    try:
        with stirred(case):
            case.logprobs(case.windows)
    finally:
        for handle in handles:
            handle.remove()
    name = max(worst, key=lambda key: worst[key])
    return Measured.below(worst[name], BOUNDS.of(case.dtype), f"{name} gives other numbers once merged")


def _layers(case: Case) -> list[tuple[str, Any]]:
    named = case.policy.model.named_modules()
    return [(name, module) for name, module in named if isinstance(module, Adapted) and hasattr(module, "delta")]


def _compare(worst: dict[str, float], name: str) -> Any:
    def hook(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        changed = [tensor.detach() for tensor in (layer.weight, layer.bias) if tensor is not None]
        before = [tensor.clone() for tensor in changed]
        try:
            merged = merged_base(layer)(inputs[0])
        finally:
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
        difference = float((merged - output).float().norm() / output.float().norm().clamp_min(1e-12))
        worst[name] = difference if difference == difference else float("inf")  # noqa: PLR0124 - not a number

    return hook


PROOF = Proof(
    means="merged into the base, the adapter gives the same numbers",
    mend="Keep the adapter beside its base rather than merging, and report it",
    measure=measure,
    applies=lambda case: bool(_layers(case)),
    passes=2,
)
