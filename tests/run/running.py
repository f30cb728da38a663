"""Whole runs on a tiny base, and the curve each leaves in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tiny_base import make_base, make_rows
from tunesmith.engine.sinks.jsonl import read
from tunesmith.events import Event
from tunesmith.recipe import Recipe
from tunesmith.run import Run, train

LORA = {"name": "lora", "rank": 4, "alpha": 8, "dropout": 0.1}


@dataclass(frozen=True)
class Material:
    """A base and rows on disk."""

    base: Path
    rows: Path

    @classmethod
    def make(cls, folder: Path) -> Material:
        return cls(make_base(folder / "base"), make_rows(folder / "rows.jsonl"))

    def recipe(
        self, *, method: dict[str, Any] | str = "full", model: dict[str, Any] | None = None, **options: Any
    ) -> Recipe:
        """54 rows in seven updates an epoch, float32, nothing but training; ``options`` are those of ``train``."""
        return Recipe(
            seed=3,
            model={"base": str(self.base), "dtype": "float32", "driver": "flat", **(model or {})},
            data={"train": [{"path": str(self.rows)}], "max_tokens": 128, "validation": 0.1, "workers": 1},
            method=method,
            train={"batch_size": 8, "learning_rate": 2e-3, "early_stopping": None, **options},
            evaluate={"prompts": 0, "before": False},
            retention="none",
        )


def go(recipe: Recipe, folder: Path, *, resume: bool = False, sinks: tuple[Any, ...] = ()) -> Run:
    """Train without the proofs."""
    return train(recipe, out=folder, resume=resume, sinks=sinks, switch_proofs_off=True)


def curve(run: Path, name: str = "loss") -> list[float]:
    """One value for every update, in order; a step that stands there twice is an error."""
    events = [event for event in read(run / "events.jsonl") if event["kind"] == "step"]
    assert [event["step"] for event in events] == list(range(1, len(events) + 1))
    return [event[name] for event in events]


def evaluations(run: Path) -> list[tuple[int, float]]:
    """Validation losses by step."""
    events = read(run / "events.jsonl")
    return [(event["step"], event["validation_loss"]) for event in events if event["kind"] == "evaluation"]


def result(run: Path) -> dict[str, torch.Tensor]:
    """The tensors of ``adapter/`` or ``model/``."""
    (file,) = [*run.glob("adapter/*.safetensors"), *run.glob("model/*.safetensors")]
    return load_file(file)


class StopAt:
    """A sink that presses Ctrl-C when update ``step`` is reported."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: Event) -> None:
        if event.kind == "step" and event.step == self.step:
            import signal

            signal.raise_signal(signal.SIGINT)
