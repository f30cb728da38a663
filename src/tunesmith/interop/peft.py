"""Adapters made by PEFT, as tables of names: which of its options are ours, which change nothing, which we lack.

Tunesmith's adapter folders are PEFT folders already (``methods.folder``). A folder that PEFT made can say more than
ours can: what we lack is refused by name. Which layers are adapted is read from the tensors themselves, so lists,
regular expressions and layer indices in ``target_modules`` all mean what PEFT made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunesmith.errors import UserError
from tunesmith.methods.folder import PREFIX, read_adapter
from tunesmith.methods.lora import Lora
from tunesmith.methods.lora_attached import AttachedLora
from tunesmith.methods.lora_choice import matched
from tunesmith.recipe.load import validated

LORA_OPTIONS: Mapping[str, str] = {
    "r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "use_rslora": "rslora",
    "use_dora": "dora",
    "bias": "bias",
}
"""PEFT's option -> ours."""
WITHOUT_EFFECT = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "ensure_weight_tying",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
    }
)
"""PEFT's options that say nothing the tensors do not say."""
HARMLESS_STARTS = (True, False, "gaussian", "eva", "orthogonal", "pissa")
"""Values of ``init_lora_weights`` that leave the base as it was, or change it to what can be computed again (PiSSA)."""
PATTERNS = ("rank_pattern", "alpha_pattern")
"""Options of the same name and meaning."""
ENDINGS = (".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector")
"""How names of an adapted layer's tensors end."""


def load_adapter(model: nn.Module, folder: Path) -> AttachedLora:
    """Attach the adapter in ``folder`` (PEFT's or ours) to ``model`` with its own settings and values.

    Raises ``UserError``: ``not-an-adapter``, ``corrupt-adapter``, ``unsupported-adapter``, ``adapter-mismatch``.
    """
    config, tensors = read_adapter(folder)
    tensors = _without_base(model, tensors, _whole(config, tensors, model))
    attached = lora_config(config, tensors, where=str(folder), model=model).attach_stored(model)
    attached.receive(tensors, str(folder))
    return attached


def lora_config(
    config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], *, where: str, model: nn.Module
) -> Lora:
    """Our config for PEFT's ``config``; its targets are the modules of ``model`` that ``tensors`` name."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise UserError(f"{where} holds an adapter of a kind that is not known", got=kind, allowed="LORA", code=_CODE)
    whole = _whole(config, tensors, model)
    _refuse_unsupported(config, tensors, where, whole)
    targets = sorted({path for name in tensors if (path := _adapted_path(name))})
    present = {name for name, _ in model.named_modules()}
    absent = [path for path in targets if path not in present]
    if absent or not targets:
        raise UserError(
            f"{where} does not fit this model: {len(targets) - len(absent)} of its {len(targets)} layers are in it",
            got=absent[0] if absent else "no tensor of a LoRA",
            hint="Load it on the base it was trained on.",
            code="adapter-mismatch",
        )
    values = {ours: config[theirs] for theirs, ours in LORA_OPTIONS.items() if theirs in config}
    for option in PATTERNS:
        # PEFT keeps patterns that fit no layer
        values[option] = {
            pattern: value
            for pattern, value in (config.get(option) or {}).items()
            if any(matched({pattern: True}, path, False) for path in targets)
        }
    if config.get("init_lora_weights") == "pissa":
        values["init"] = "pissa"
    return validated(Lora, {**values, "targets": targets, "modules_to_save": whole}, where)


_CODE = "unsupported-adapter"


def _refuse_unsupported(
    config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], where: str, whole: Sequence[str]
) -> None:
    known = {*LORA_OPTIONS, *WITHOUT_EFFECT, *PATTERNS, "init_lora_weights", "modules_to_save"}
    used = [f"{key}={value}" for key, value in config.items() if value and key not in known]
    start = config.get("init_lora_weights", True)
    if start not in HARMLESS_STARTS:
        used.append(f"init_lora_weights={start} (it changes the base)")
    if not used:
        used = [name for name in tensors if not (_adapted_path(name) or name.endswith("bias") or _of(name, whole))][:1]
    if used:
        raise UserError(
            f"{where} uses what Tunesmith's LoRA does not have",
            got=used,
            allowed=sorted({*LORA_OPTIONS, *PATTERNS, "modules_to_save"}),
            hint="Merge it with PEFT (`merge_and_unload`) and use the merged model as the base.",
            code=_CODE,
        )


def _whole(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], model: nn.Module) -> list[str]:
    """Paths of the modules that PEFT's ``modules_to_save`` selects (by the end of a path) and the file holds."""
    endings = tuple(config.get("modules_to_save") or ())
    return [
        path
        for path, _ in model.named_modules(remove_duplicate=False)
        if path and path.endswith(endings) and any(_of(name, [path]) for name in tensors)
    ]


def _of(name: str, paths: Sequence[str]) -> bool:
    """Whether the tensor ``name`` belongs to a module in ``paths``."""
    return name.startswith(tuple(f"{PREFIX}{path}." for path in paths))


def _without_base(
    model: nn.Module, tensors: Mapping[str, torch.Tensor], whole: Sequence[str]
) -> dict[str, torch.Tensor]:
    """``tensors`` without copies of the base's own weights, which PEFT adds where a head or embedding is adapted."""
    base = model.state_dict()

    def is_base(name: str, tensor: torch.Tensor) -> bool:
        own = base.get(name.removeprefix(PREFIX).replace(".base_layer.", "."))
        return own is not None and own.shape == tensor.shape and torch.equal(own.cpu(), tensor.to(own.dtype))

    return {
        name: tensor
        for name, tensor in tensors.items()
        if name.endswith("bias") or _of(name, whole) or not is_base(name, tensor)
    }


def _adapted_path(name: str) -> str | None:
    """Path of the adapted layer that the tensor ``name`` belongs to."""
    for ending in ENDINGS:
        if name.startswith(PREFIX) and name.endswith(ending):
            return name.removeprefix(PREFIX).removesuffix(ending)
    return None
