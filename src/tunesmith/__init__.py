"""Tunesmith: fine-tuning that proves itself. Names are loaded when first used, so importing costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.addons.ewc import Ewc
    from tunesmith.addons.kl import Kl
    from tunesmith.addons.l2 import L2
    from tunesmith.addons.neftune import Neftune
    from tunesmith.addons.r_drop import RDrop
    from tunesmith.addons.replay import Replay
    from tunesmith.addons.reptile import Reptile
    from tunesmith.errors import UserError
    from tunesmith.interop.named import Adapters
    from tunesmith.methods.adalora import Adalora
    from tunesmith.methods.adapter import Adapter
    from tunesmith.methods.bitfit import Bitfit
    from tunesmith.methods.freeze import Freeze
    from tunesmith.methods.full import Full
    from tunesmith.methods.fusion import Fusion
    from tunesmith.methods.ia3 import Ia3
    from tunesmith.methods.lora import Lora
    from tunesmith.methods.norms import Norms
    from tunesmith.methods.p_tuning import PTuning
    from tunesmith.methods.p_tuning_v2 import PTuningV2
    from tunesmith.methods.peft import Peft
    from tunesmith.methods.prefix import PrefixTuning
    from tunesmith.methods.progressive import Progressive
    from tunesmith.methods.prompt import Prompt
    from tunesmith.objectives.classify import Classify
    from tunesmith.objectives.distill import Distill
    from tunesmith.objectives.embed import Embed
    from tunesmith.objectives.multi import Multi
    from tunesmith.objectives.pretrain import Pretrain
    from tunesmith.objectives.regress import Regress
    from tunesmith.objectives.sft import Sft
    from tunesmith.objectives.span import Span
    from tunesmith.objectives.tokens import Tokens
    from tunesmith.recipe import Recipe
    from tunesmith.run import Run, align, attach, check, continual, embed, evaluate, iterate, load, make, train

__version__ = "0.1.0"

_HOMES = {
    "Ewc": "tunesmith.addons.ewc",
    "Kl": "tunesmith.addons.kl",
    "L2": "tunesmith.addons.l2",
    "Neftune": "tunesmith.addons.neftune",
    "RDrop": "tunesmith.addons.r_drop",
    "Replay": "tunesmith.addons.replay",
    "Reptile": "tunesmith.addons.reptile",
    "continual": "tunesmith.run",
    "Recipe": "tunesmith.recipe",
    "UserError": "tunesmith.errors",
    "Run": "tunesmith.run",
    "train": "tunesmith.run",
    "check": "tunesmith.run",
    "evaluate": "tunesmith.run",
    "load": "tunesmith.run",
    "align": "tunesmith.run",
    "attach": "tunesmith.run",
    "iterate": "tunesmith.run",
    "make": "tunesmith.run",
    "Peft": "tunesmith.methods.peft",
    "Progressive": "tunesmith.methods.progressive",
    "Adapter": "tunesmith.methods.adapter",
    "Adapters": "tunesmith.interop.named",
    "Fusion": "tunesmith.methods.fusion",
    "Full": "tunesmith.methods.full",
    "Freeze": "tunesmith.methods.freeze",
    "Lora": "tunesmith.methods.lora",
    "Norms": "tunesmith.methods.norms",
    "Ia3": "tunesmith.methods.ia3",
    "Bitfit": "tunesmith.methods.bitfit",
    "Adalora": "tunesmith.methods.adalora",
    "Prompt": "tunesmith.methods.prompt",
    "PTuning": "tunesmith.methods.p_tuning",
    "PrefixTuning": "tunesmith.methods.prefix",
    "PTuningV2": "tunesmith.methods.p_tuning_v2",
    "Sft": "tunesmith.objectives.sft",
    "Tokens": "tunesmith.objectives.tokens",
    "Span": "tunesmith.objectives.span",
    "Regress": "tunesmith.objectives.regress",
    "Classify": "tunesmith.objectives.classify",
    "Multi": "tunesmith.objectives.multi",
    "Distill": "tunesmith.objectives.distill",
    "Embed": "tunesmith.objectives.embed",
    "embed": "tunesmith.run",
    "Pretrain": "tunesmith.objectives.pretrain",
}

__all__ = [
    "L2",
    "Adalora",
    "Adapter",
    "Adapters",
    "Bitfit",
    "Classify",
    "Distill",
    "Embed",
    "Ewc",
    "Freeze",
    "Full",
    "Fusion",
    "Ia3",
    "Kl",
    "Lora",
    "Multi",
    "Neftune",
    "Norms",
    "PTuning",
    "PTuningV2",
    "Peft",
    "PrefixTuning",
    "Pretrain",
    "Progressive",
    "Prompt",
    "RDrop",
    "Recipe",
    "Regress",
    "Replay",
    "Reptile",
    "Run",
    "Sft",
    "Span",
    "Tokens",
    "UserError",
    "align",
    "attach",
    "check",
    "continual",
    "embed",
    "evaluate",
    "iterate",
    "load",
    "make",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tunesmith' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
