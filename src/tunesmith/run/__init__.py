"""The composition root: the only place where names become objects. Each function here is one command.

Names are loaded when first used, so that ``tunesmith doctor`` works even where a part of a run does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.run.folder import Run
    from tunesmith.run.journey import demo
    from tunesmith.run.predict import predict
    from tunesmith.run.proving import check
    from tunesmith.run.rows import prepare
    from tunesmith.run.stages import train
    from tunesmith.run.suites import evaluate
    from tunesmith.run.use import attach, chat, compare, load, merge

_HOMES = {
    "Run": "folder",
    "attach": "use",
    "chat": "use",
    "check": "proving",
    "compare": "use",
    "demo": "journey",
    "evaluate": "suites",
    "load": "use",
    "merge": "use",
    "predict": "predict",
    "prepare": "rows",
    "train": "stages",
}
__all__ = [
    "Run",
    "attach",
    "chat",
    "check",
    "compare",
    "demo",
    "evaluate",
    "load",
    "merge",
    "predict",
    "prepare",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tunesmith.run' has no attribute '{name}'")
    return getattr(import_module(f"tunesmith.run.{_HOMES[name]}"), name)
