"""The tensors of a model folder, read one at a time.

A file is read, not mapped: the pages of a mapped file would count as memory of this process as long as it is open. The
trap: a tensor's ``[...]`` is what reads it, again each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""What safetensors calls a dtype."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, on the CPU once it is read by ``[...]``."""

    file: Path
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def __getitem__(self, _: Any) -> torch.Tensor:
        found = torch.empty(self.shape, dtype=self.dtype)
        with self.file.open("rb", buffering=0) as file:
            file.seek(self.offset)
            raw: Any = found.flatten().view(torch.uint8).numpy()
            room = memoryview(raw)
            while room:  # a reading may end early
                room = room[file.readinto(room) or _cut_off(self.file) :]
        return found

    def is_floating_point(self) -> bool:
        """As of a tensor: transformers asks it for a model's dtype."""
        return self.dtype.is_floating_point


def stored_tensors(folder: Path) -> dict[str, StoredTensor] | None:
    """The tensors of a model folder by name; None where it has no safetensors or a dtype not known here."""
    if (folder / INDEX).is_file():
        files = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        files = [WHOLE]
    if not all((folder / name).is_file() for name in files):
        return None
    found: dict[str, StoredTensor] = {}
    for name in files:
        for key, file, start, about in _entries(folder / name):
            if about["dtype"] not in DTYPES:
                return None
            found[key] = StoredTensor(file, start, DTYPES[about["dtype"]], tuple(about["shape"]))
    return found


def as_loaded(model: nn.Module, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor] | None:
    """What ``model.state_dict()`` would hold once loaded, in its order; ``model`` may have no weights (``skeleton``).

    None where the files have other names, shapes or dtypes: loading would then rename, join or cast.
    """
    known = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items() if name in tensors}
    found: dict[str, StoredTensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        stored = tensors.get(name) or tensors.get(known.get(id(tensor), ""))  # a tied weight is stored once
        if stored is None or (stored.dtype, stored.shape) != (tensor.dtype, tuple(tensor.shape)):
            return None
        found[name] = stored
    return found if tensors.keys() <= found.keys() else None


def _entries(file: Path) -> Iterator[tuple[str, Path, int, Mapping[str, Any]]]:
    """Name, file, place and description of every tensor in a safetensors file."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size))
    for name, about in header.items():
        if name != "__metadata__":
            yield name, file, 8 + size + about["data_offsets"][0], about


def _cut_off(file: Path) -> int:
    raise OSError(f"{file.name} ends before its last tensor")
