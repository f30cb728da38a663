"""AdaLoRA's tensors in a folder: PEFT's names, and pruned singular values left out as ``rank_pattern`` says.

A mask ``[rank]`` by path of a layer is True where a singular value and its two vectors are in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tunesmith.methods.folder import PREFIX

PEFT_OPTIONS = {
    "rank": "init_r",
    "target_rank": "target_r",
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    "orthogonality": "orth_reg_weight",
    "t_init": "tinit",
    "t_final": "tfinal",
    "delta_t": "deltaT",
    "beta1": "beta1",
    "beta2": "beta2",
}
"""Our option -> PEFT's."""
Masks = Mapping[str, torch.Tensor]


def stored(path: str) -> tuple[str, str, str]:
    """Stored names of a layer's ``Q [rank, in]``, ``Λ [rank, 1]`` and ``P [out, rank]``."""
    return (f"{PREFIX}{path}.lora_A", f"{PREFIX}{path}.lora_E", f"{PREFIX}{path}.lora_B")


def adapted(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Paths of the layers whose singular values are among ``tensors``."""
    ending = ".lora_E"
    return sorted(name.removeprefix(PREFIX).removesuffix(ending) for name in tensors if name.endswith(ending))


def as_json(pattern: Masks) -> dict[str, list[bool]] | None:
    """PEFT's ``rank_pattern``; None where nothing was pruned."""
    return {f"{path}.lora_E": mask.tolist() for path, mask in pattern.items()} or None


def from_json(pattern: Mapping[str, list[bool]] | None) -> dict[str, torch.Tensor]:
    """The inverse of ``as_json``."""
    return {
        name.removesuffix(".lora_E"): torch.tensor(mask, dtype=torch.bool) for name, mask in (pattern or {}).items()
    }


def packed(tensors: Mapping[str, torch.Tensor], pattern: Masks) -> dict[str, torch.Tensor]:
    """``tensors`` without what the masks leave out."""
    smaller = dict(tensors)
    for path, mask in pattern.items():
        for name in stored(path):
            smaller[name] = tensors[name][_place(name, mask.to(tensors[name].device))]
    return smaller


def unpacked(
    tensors: Mapping[str, torch.Tensor], pattern: Masks, own: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The inverse, float32: what was left out is zero in ``Λ``, and as in ``own`` in the vectors.

    A tensor that does not fit its mask is handed on as it is, for the caller to refuse.
    """
    whole = dict(tensors)
    for path, mask in pattern.items():
        for name in set(stored(path)) & set(tensors):
            start = own[name].detach().to("cpu", torch.float32, copy=True)
            rank = start.shape[1] if name.endswith("lora_B") else len(start)
            if name.endswith("lora_E"):
                start.zero_()
            if rank == len(mask) and start[_place(name, mask)].shape == tensors[name].shape:
                start[_place(name, mask)] = tensors[name].float()
                whole[name] = start
    return whole


def _place(name: str, mask: torch.Tensor) -> Any:
    return (slice(None), mask) if name.endswith("lora_B") else mask
