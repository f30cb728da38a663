"""The trained adapters that a fusion starts from, out of their own folders, run folders, or the folder of a fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tunesmith.errors import UserError
from tunesmith.methods.adapter import Adapter
from tunesmith.methods.folder import read_adapter

FUSION = "FUSION"
"""What a fusion's folder says it is (``peft_type``)."""


@dataclass(frozen=True)
class Source:
    """One trained adapter: its name, its settings, and its tensors by path and parameter (``….adapter.up.weight``)."""

    name: str
    config: Adapter
    tensors: Mapping[str, torch.Tensor]
    folder: Path


def sources(folders: Sequence[str]) -> list[Source]:
    """The trained adapters in ``folders``, under names that differ.

    Raises ``UserError``: ``too-few-adapters``, ``not-an-adapter``, ``corrupt-adapter``, ``unsupported-adapter``,
    ``adapter-mismatch``.
    """
    found = [source for folder in folders for source in _read(Path(folder))]
    if len(found) < 2:
        raise UserError(
            "a fusion mixes at least two trained adapters",
            got=len(found),
            allowed="adapters: [first folder, second folder, …]",
            hint="Train each with `method: {name: adapter}` first.",
            code="too-few-adapters",
        )
    first = found[0]
    for other in found[1:]:
        if (other.config.kind, other.config.targets) != (first.config.kind, first.config.targets):
            raise UserError(
                f"{other.folder} and {first.folder} do not sit at the same layers",
                got=f"kind {other.config.kind} and kind {first.config.kind}",
                allowed="adapters of one kind and the same targets",
                code="adapter-mismatch",
            )
    names = [source.name for source in found]
    return [
        source if names.count(source.name) == 1 else replace(source, name=f"{source.name}-{index}")
        for index, source in enumerate(found, 1)
    ]


def _read(given: Path) -> list[Source]:
    """The adapter in a folder or run folder, or all those of a stored fusion."""
    folder = given / "adapter" if (given / "recipe.yaml").is_file() else given
    config, tensors = read_adapter(folder)
    if config.get("peft_type") == Adapter.PEFT_TYPE:
        own = {name: tensor for name, tensor in tensors.items() if ".adapter." in name}
        return [Source(given.resolve().name, Adapter.stored(folder, config), own, folder)]
    if config.get("peft_type") == FUSION:
        return [
            Source(name, Adapter.stored(folder, fields), _of_one(tensors, index), folder)
            for index, (name, fields) in enumerate(zip(config["names"], config["adapters"], strict=True))
        ]
    raise UserError(
        f"{folder} holds no bottleneck adapter",
        got=config.get("peft_type"),
        allowed="a folder that the methods `adapter` or `fusion` wrote",
        code="unsupported-adapter",
    )


def _of_one(tensors: Mapping[str, torch.Tensor], index: int) -> dict[str, torch.Tensor]:
    """Adapter ``index`` out of the tensors of a fusion, under the names of its own folder."""
    mark = f".adapters.{index}."
    return {name.replace(mark, ".adapter."): tensor for name, tensor in tensors.items() if mark in name}
