"""Tunesmith: fine-tuning that proves itself. Names are loaded when first used, so importing costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.errors import UserError
    from tunesmith.methods.freeze import Freeze
    from tunesmith.methods.full import Full
    from tunesmith.methods.lora import Lora
    from tunesmith.objectives.pretrain import Pretrain
    from tunesmith.objectives.sft import Sft
    from tunesmith.recipe import Recipe
    from tunesmith.run import Run, attach, check, evaluate, load, train

__version__ = "0.1.0"

_HOMES = {
    "Recipe": "tunesmith.recipe",
    "UserError": "tunesmith.errors",
    "Run": "tunesmith.run",
    "train": "tunesmith.run",
    "check": "tunesmith.run",
    "evaluate": "tunesmith.run",
    "load": "tunesmith.run",
    "attach": "tunesmith.run",
    "Full": "tunesmith.methods.full",
    "Freeze": "tunesmith.methods.freeze",
    "Lora": "tunesmith.methods.lora",
    "Sft": "tunesmith.objectives.sft",
    "Pretrain": "tunesmith.objectives.pretrain",
}

__all__ = [
    "Freeze",
    "Full",
    "Lora",
    "Pretrain",
    "Recipe",
    "Run",
    "Sft",
    "UserError",
    "attach",
    "check",
    "evaluate",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tunesmith' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
