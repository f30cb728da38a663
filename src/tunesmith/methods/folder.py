"""Adapter folders: PEFT's two files, ``adapter_config.json`` and ``adapter_model.safetensors`` (float32).

Reading is strict: every tensor lands on a parameter of its shape, or a ``UserError`` says how many did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunesmith.errors import UserError
from tunesmith.files import write_bytes, write_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What PEFT puts before the path of a module."""
HEADED = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
"""PEFT's tasks whose head it looks for in the folder."""


def write_adapter(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Write the two files; tensors are stored in float32 under the names given."""
    from safetensors.torch import save

    # copies, because two names may share memory, which safetensors refuses
    stored = {
        name: tensor.detach().to("cpu", torch.float32, copy=True).contiguous() for name, tensor in tensors.items()
    }
    write_bytes(folder / WEIGHTS, save(stored, metadata={"format": "pt"}))
    # a folder without the head would not be read as one of these
    headless = config.get("task_type") in HEADED and not config.get("modules_to_save")
    write_json(folder / CONFIG, {**config, "task_type": None} if headless else dict(config))


def read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Config and tensors of an adapter folder; a ``UserError`` (``not-an-adapter``, ``corrupt-adapter``) otherwise."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder} is not an adapter folder: {' and '.join(missing)} not found",
            got=sorted(item.name for item in folder.iterdir()) if folder.is_dir() else "no such folder",
            allowed=f"a folder with {CONFIG} and {WEIGHTS}",
            code="not-an-adapter",
        )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, ValueError) as error:
        raise UserError(
            f"the adapter in {folder} cannot be read: {error}",
            hint="The file was cut off or changed after it was saved; use another checkpoint.",
            code="corrupt-adapter",
        ) from error
    if not isinstance(config, dict):
        raise UserError(f"{folder / CONFIG} does not hold a group of options", code="corrupt-adapter")
    return config, tensors


@torch.no_grad()
def land(
    tensors: Mapping[str, torch.Tensor], parameters: Mapping[str, nn.Parameter], aliases: Mapping[str, str], where: str
) -> None:
    """Copy every tensor onto the parameter of its name and shape, all or nothing.

    ``aliases`` are further names a file may use for a parameter (a tied bias). Raises ``UserError``
    (``adapter-mismatch``) with the share that fits and the first that does not.
    """
    named = {aliases.get(name, name): tensor for name, tensor in tensors.items()}
    wrong = [
        f"{name} is {_shape(tensor)} in the file, {_shape(parameters.get(name))} here"
        for name, tensor in named.items()
        if _shape(tensor) != _shape(parameters.get(name))
    ]
    absent = [f"{name} is not in the file" for name in parameters if name not in named]
    if wrong or absent:
        fitting = len(named) - len(wrong)
        raise UserError(
            f"{where} does not fit this model: {fitting} of its {len(named)} tensors land, "
            f"{len(parameters) - len(absent)} of the model's {len(parameters)} are found in it",
            got=(wrong + absent)[0],
            hint="Load it on the base it was trained on, with the method it was trained with.",
            code="adapter-mismatch",
        )
    for name, tensor in named.items():
        parameters[name].copy_(tensor)


def _shape(tensor: torch.Tensor | None) -> str:
    return "absent" if tensor is None else "x".join(map(str, tensor.shape))
