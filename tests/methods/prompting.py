"""What tests of prompts share: methods away from their start, and models to put them on."""

from __future__ import annotations

from typing import Any

import torch

from families import VOCABULARY, tiny
from tunesmith.methods.p_tuning import PTuning
from tunesmith.methods.p_tuning_v2 import PTuningV2
from tunesmith.methods.prefix import PrefixTuning
from tunesmith.methods.prompt import Prompt

TOKENS = 5
METHODS: dict[str, Any] = {
    "prompt": Prompt(tokens=TOKENS),
    "p-tuning": PTuning(tokens=TOKENS, width=24),
    "p-tuning-lstm": PTuning(tokens=TOKENS, encoder="lstm", width=24),
    "prefix": PrefixTuning(tokens=TOKENS, width=24),
    "p-tuning-v2": PTuningV2(tokens=TOKENS),
}
LENGTHS = (13, 1, 9, 2)


def prompted(family: str, method: str, *, model: Any = None, seed: int = 0) -> tuple[Any, Any]:
    """A tiny model with a method, every trained value away from its start."""
    model = tiny(family) if model is None else model
    torch.manual_seed(seed)
    attached = METHODS[method].attach(model)
    with torch.no_grad():
        for parameter in parameters(attached).values():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model, attached


def parameters(attached: Any) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for group in attached.groups() for name, parameter in group.parameters.items()}


def values(attached: Any) -> dict[str, torch.Tensor]:
    """What the engine hands to ``save``: float32 masters."""
    return {name: parameter.detach().float().clone() for name, parameter in parameters(attached).items()}


def ids(lengths: tuple[int, ...] = LENGTHS) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (sum(lengths),), generator=torch.Generator().manual_seed(3))


def plain(model: Any, lengths: tuple[int, ...] = LENGTHS) -> torch.Tensor:
    """Logits ``[T, V]`` of each sequence by itself, by the transformers model."""
    return torch.cat([model(input_ids=part[None]).logits[0] for part in ids(lengths).split(lengths)])


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(((one - other).abs().max() / other.abs().max()).detach())
