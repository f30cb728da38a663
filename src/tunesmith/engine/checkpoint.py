"""Checkpoints that are whole or not there, verified by checksum before they are trusted.

``checkpoints/step-000200/`` holds ``weights.safetensors`` (float32 masters), ``optimizer.safetensors``,
``method.safetensors`` and ``feed.safetensors`` (what the method and the rows themselves remember) and ``progress.json``
(where the run stands, and checksums).
Random state is not stored: it is a function of the step (see ``seed``).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tunesmith.engine import optimizers
from tunesmith.engine.weights import Weights
from tunesmith.errors import UserError
from tunesmith.files import sha256, whole_folder, write_json

PATTERN = re.compile(r"^step-(\d{6,})$")
TENSOR_FILES = ("weights.safetensors", "optimizer.safetensors", "method.safetensors", "feed.safetensors")


@dataclass
class Progress:
    """Where a run stands; everything a resumed run needs besides tensors and the recipe."""

    step: int = 0
    """updates done"""
    tokens: int = 0
    """tokens of the streams so far"""
    loss_tokens: float = 0.0
    """units that carried loss so far (trained tokens)"""
    seconds: float = 0.0
    """seconds spent in updates, over all sessions of the run"""
    best: float | None = None
    """best value of the watched metric"""
    best_step: int | None = None
    stale: int = 0
    """evaluations since the best"""
    stopped_early: bool = False
    last: dict[str, Any] = field(default_factory=dict)
    """latest training loss and metrics"""


def save(
    folder: Path,
    progress: Progress,
    weights: Weights,
    optimizer: optimizers.Optimizer,
    *,
    method: Mapping[str, torch.Tensor] | None = None,
    feed: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """Write the checkpoint of ``progress.step`` under ``folder`` and return its path.

    ``method`` and ``feed`` are the states of the method and of the rows.
    """
    path = folder / f"step-{progress.step:06d}"
    with whole_folder(path) as temporary:
        contents = (weights.values, optimizers.state_tensors(optimizer), method or {}, feed or {})
        for name, tensors in zip(TENSOR_FILES, contents, strict=True):
            stored = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            save_file(stored, temporary / name)
        where = asdict(progress)
        checksums = {name: sha256(temporary / name) for name in TENSOR_FILES} | {"progress": _digest(where)}
        write_json(temporary / "progress.json", {"progress": where, "sha256": checksums})
    return path


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest ``keep`` checkpoints (older ones go only after the newest is whole).

    Half-written ones of a killed process go too: one process writes here, and it is not writing now.
    """
    for path in [*steps(folder)[:-keep], *folder.glob(".step-*")]:
        shutil.rmtree(path, ignore_errors=True)


def steps(folder: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    if not folder.is_dir():
        return []
    found = [(int(match.group(1)), path) for path in folder.iterdir() if (match := PATTERN.match(path.name))]
    return [path for _, path in sorted(found)]


@dataclass(frozen=True)
class Found:
    """A checkpoint that was verified, and the damaged newer ones that were passed over."""

    path: Path
    progress: Progress
    damaged: tuple[str, ...]


def newest(folder: Path) -> Found | None:
    """The newest checkpoint that is whole; None where there is none at all; a ``UserError`` where all are damaged."""
    damaged: list[str] = []
    for path in reversed(steps(folder)):
        reason = _damage(path)
        if reason is None:
            progress = Progress(**json.loads((path / "progress.json").read_text())["progress"])
            return Found(path, progress, tuple(damaged))
        damaged.append(f"{path.name} ({reason})")
    if damaged:
        raise UserError(
            f"every checkpoint in {folder} is damaged",
            got=damaged,
            hint="Start again without --resume, into another folder if you want to keep these files.",
            code="corrupt-checkpoint",
        )
    return None


def restore(path: Path, weights: Weights, optimizer: optimizers.Optimizer) -> dict[str, torch.Tensor]:
    """Put the tensors of a verified checkpoint back; returns the method's own state."""
    try:
        weights.set(load_file(path / TENSOR_FILES[0]))
    except KeyError as error:
        raise UserError(
            f"the checkpoint {path.name} was made by another method or model",
            got=str(error),
            hint="Resume with the recipe in the run folder, or start again without --resume.",
            code="checkpoint-mismatch",
        ) from error
    optimizers.load_state(optimizer, load_file(path / TENSOR_FILES[1]))
    return load_file(path / TENSOR_FILES[2])


def feed_state(path: Path) -> dict[str, torch.Tensor]:
    """The rows' own state in a verified checkpoint."""
    return load_file(path / TENSOR_FILES[3])


def carry(path: Path, optimizer: optimizers.Optimizer) -> int:
    """Take over the state of parameters that another run trained under the same name and shape; how many there were."""
    return optimizers.load_state(optimizer, load_file(path / TENSOR_FILES[1]))


def _damage(path: Path) -> str | None:
    try:
        stored = json.loads((path / "progress.json").read_text())
        for name in (*TENSOR_FILES, "progress"):
            found = _digest(stored["progress"]) if name == "progress" else sha256(path / name)
            if found != stored["sha256"][name]:
                return f"{name} does not match its checksum"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _digest(progress: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(progress, sort_keys=True).encode()).hexdigest()


def values_of(weights: Weights) -> dict[str, torch.Tensor]:
    """Masters on the CPU by name, as ``Attached.save`` takes them."""
    return {name: value.detach().cpu() for name, value in weights.values.items()}
