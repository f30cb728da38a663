"""Experiment trackers as sinks: each hears the numbers of steps and evaluations, and writes nothing of its own.

All run offline into the run folder unless the tracker's own settings say otherwise. They come with the ``track`` extra.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.events import Event, Sink

Log = Callable[[Mapping[str, float], int], None]
"""Takes numbers by name and the step they belong to."""


def trackers(names: Sequence[str], *, run: str, folder: Path) -> list[Sink]:
    """A sink for each of ``names``; a ``UserError`` naming the extra where a package is missing."""
    return [_Tracker(*BUILDERS[name](run, folder)) for name in names]


class _Tracker:
    def __init__(self, log: Log, close: Callable[[], None]) -> None:
        self._log, self._close = log, close

    def __call__(self, event: Event) -> None:
        """Hand the event's numbers on."""
        if event.kind in ("step", "rollout", "evaluation"):
            numbers = {
                _name(event.kind, name): float(value)
                for name, value in event.values.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
            self._log(numbers, event.step)
        elif event.kind == "end":
            self._close()


def _name(kind: str, name: str) -> str:
    folder = {"step": "train", "rollout": "rollout"}.get(kind, "validation")
    return f"{folder}/{name.removeprefix('validation_')}"


def _tensorboard(_: str, folder: Path) -> tuple[Log, Callable[[], None]]:
    _need("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def log(numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)

    return log, writer.close


def _wandb(run: str, folder: Path) -> tuple[Log, Callable[[], None]]:
    _need("wandb")
    import wandb

    mode = os.environ.get("WANDB_MODE", "offline")
    started: Any = wandb.init(project="tunesmith", name=run, dir=str(folder), mode=mode)
    return lambda numbers, step: started.log(dict(numbers), step=step), started.finish


def _mlflow(run: str, folder: Path) -> tuple[Log, Callable[[], None]]:
    _need("mlflow")
    import mlflow

    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').resolve()}")
    mlflow.set_experiment("tunesmith")
    mlflow.start_run(run_name=run)
    return lambda numbers, step: mlflow.log_metrics(dict(numbers), step=step), mlflow.end_run


def _trackio(run: str, folder: Path) -> tuple[Log, Callable[[], None]]:
    _need("trackio")
    os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
    import trackio

    trackio.init(project="tunesmith", name=run)
    return lambda numbers, step: trackio.log(dict(numbers), step=step), trackio.finish


BUILDERS: dict[str, Callable[[str, Path], tuple[Log, Callable[[], None]]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}


def _need(package: str) -> None:
    if find_spec(package) is None:
        raise UserError(
            f"tracking with {package} needs the package {package}",
            hint="Install it with: pip install 'tunesmith[track]'",
            code="missing-extra",
        )
