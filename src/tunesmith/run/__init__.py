"""The composition root: the only place where names become objects. Each function here is one command.

Names are loaded when first used, so that ``tunesmith doctor`` works even where a part of a run does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.run.alignment import align
    from tunesmith.run.building import build
    from tunesmith.run.comparing import compare
    from tunesmith.run.embedding import embed
    from tunesmith.run.folder import Run
    from tunesmith.run.journey import demo
    from tunesmith.run.making import make
    from tunesmith.run.predict import predict
    from tunesmith.run.proving import check
    from tunesmith.run.rounds import iterate
    from tunesmith.run.rows import prepare
    from tunesmith.run.sequence import continual
    from tunesmith.run.stages import train
    from tunesmith.run.suites import benchmark_suite, evaluate
    from tunesmith.run.sweep_trials import sweep
    from tunesmith.run.use import attach, chat, load, merge
    from tunesmith.run.verdict import gate

_HOMES = {
    "Run": "folder",
    "align": "alignment",
    "attach": "use",
    "build": "building",
    "chat": "use",
    "benchmark_suite": "suites",
    "check": "proving",
    "compare": "comparing",
    "continual": "sequence",
    "demo": "journey",
    "embed": "embedding",
    "evaluate": "suites",
    "gate": "verdict",
    "iterate": "rounds",
    "load": "use",
    "make": "making",
    "merge": "use",
    "predict": "predict",
    "prepare": "rows",
    "sweep": "sweep_trials",
    "train": "stages",
}
__all__ = [
    "Run",
    "align",
    "attach",
    "benchmark_suite",
    "build",
    "chat",
    "check",
    "compare",
    "continual",
    "demo",
    "embed",
    "evaluate",
    "gate",
    "iterate",
    "load",
    "make",
    "merge",
    "predict",
    "prepare",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tunesmith.run' has no attribute '{name}'")
    return getattr(import_module(f"tunesmith.run.{_HOMES[name]}"), name)
