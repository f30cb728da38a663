"""Attention that sees a prefix, for models driven as transformers drives them: padded, or one plain call.

Registered under the name ``tunesmith-prefixed``. A layer's ``key_value_prefix`` is put in front of the keys and values
of each call, after the cache has been read and written: the cache, its lengths and the masks know nothing about it, so
training, ``generate`` and beam search are one rule. (The flat driver's rule is the same, see ``attention``.)

Shape legend: ``B`` rows, ``H`` query heads, ``K`` key-value heads, ``T`` queries, ``L`` keys, ``D`` head size, ``P``
prefix tokens.

The trap: transformers takes another attention function without a word, and the prefix would be gone. Whoever puts a
prefix on a model calls ``require`` before each pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tunesmith.contracts.batch import Prefix
from tunesmith.errors import UserError
from tunesmith.models import attention
from tunesmith.models.segments import Shape

NAME = "tunesmith-prefixed"
PLACE = "virtual"
"""Where trained vectors stand in a model's body."""
_LOOK = "tunesmith-look"


@dataclass(frozen=True)
class Seen:
    """An attention layer, and the keys and values ``[K, T, D]`` it attended to in one pass over one sequence."""

    module: nn.Module
    keys: torch.Tensor
    values: torch.Tensor


def carried(model: nn.Module) -> bool:
    """Whether the layers of ``model`` are given a prefix (``carries_prefix`` on its body)."""
    return bool(getattr(model.base_model, "carries_prefix", False))


def rows_ahead(model: Any) -> int:
    """Rows that a method puts in front of every sequence: those of a prompt; a prefix is no row."""
    return 0 if carried(model) else int(getattr(model.base_model, "virtual_positions", 0))


def apply(model: Any) -> None:
    """Let ``model`` attend with its prefix."""
    _register(NAME, attend)
    model.set_attn_implementation(NAME)


def require(model: Any) -> None:
    """A ``UserError`` (``prefix-not-seen``) where ``model`` attends in a way that leaves the prefix out."""
    found = implementation(model)
    if found not in (NAME, attention.NAME):
        raise UserError(
            "this model carries a prefix, but its attention function does not see it",
            got=f"'{found}'",
            allowed=[NAME, attention.NAME],
            hint=f"Do not set another one after attaching, or call model.set_attn_implementation('{NAME}') again.",
            code="prefix-not-seen",
        )


def implementation(model: Any) -> str:
    """The name of the attention function in use."""
    return str(model.config.get_text_config()._attn_implementation)


def context(model: Any) -> int | None:
    """How many tokens a sequence may have: the base's positions, less those a method takes (``virtual_positions``)."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return positions and int(positions) - int(getattr(model.base_model, "virtual_positions", 0))


def entrance(model: Any) -> Any:
    """The stack of layers that every pass of ``model`` goes through, by the model's own call and by a driver's.

    It is the base model, or where the model calls past that (OPT) its decoder. Raises ``UserError``
    (``no-prompt-here``) where it is neither.
    """
    candidates = [model.base_model, model.get_decoder()]
    entered: list[nn.Module] = []
    hooks = [module.register_forward_pre_hook(lambda module, _: entered.append(module)) for module in candidates]
    try:
        with _plainly(model, NAME, attend):
            model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device))
    finally:
        for hook in hooks:
            hook.remove()
    if not entered:
        raise UserError(
            f"{type(model).__name__} does not run its layers where virtual tokens could be put in front of them",
            hint="Use `lora`.",
            code="no-prompt-here",
        )
    return next(module for module in candidates if module in entered)


def look(model: Any, ids: torch.Tensor) -> list[Seen]:
    """Run ``model`` on ``ids [T]`` and tell what each of its layers attends to, from the lowest up.

    Raises ``UserError`` ``no-prefix-here`` where attention does not go through transformers' registry, or is more than
    one self-attention a layer.
    """
    found: list[Seen] = []

    def record(module: nn.Module, *tensors: Any, **options: Any) -> tuple[torch.Tensor, None]:
        found.append(Seen(module, *(tensor[0].clone() for tensor in tensors[1:3])))
        return attend(module, *tensors, **options)

    with _plainly(model, _LOOK, record):
        model(input_ids=ids[None])
    layers = int(getattr(model.config.get_text_config(), "num_hidden_layers", 0))
    if len(found) != layers or len({id(seen.module) for seen in found}) != layers:
        raise UserError(
            f"{type(model).__name__} cannot carry a prefix: {len(found)} attentions were seen in {layers} layers",
            allowed="a model of self-attention layers that uses transformers' attention functions",
            hint="Use `prompt` or `lora`.",
            code="no-prefix-here",
        )
    return found


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls: ``query [B, H, T, D]``, ``key``/``value [B, K, L, D]`` -> ``[B, T, H, D]``.

    ``attention_mask [B, 1, T, L]``, bool or added to the scores; None where all is seen.
    """
    for name in ("s_aux", "position_bias"):
        if options.get(name) is not None:
            raise RuntimeError(f"{type(module).__name__} uses '{name}', which attention with a prefix does not compute")
    prefix: Prefix | None = getattr(module, "key_value_prefix", None)
    if prefix is not None:
        rows = len(key)
        key = torch.cat([prefix.keys.expand(rows, -1, -1, -1), key], dim=2)
        value = torch.cat([prefix.values.expand(rows, -1, -1, -1), value], dim=2)
        if attention_mask is not None:
            seen = True if attention_mask.dtype == torch.bool else 0.0
            attention_mask = F.pad(attention_mask, (prefix.keys.shape[1], 0), value=seen)
    scaling, dropout = float(options.get("scaling") or query.shape[-1] ** -0.5), float(options.get("dropout") or 0.0)
    if options.get("softcap") is not None:
        shape = Shape(scaling, causal=False, softcap=options["softcap"], dropout=dropout)
        return attention.explicit_attention(query, key, value, attention_mask, shape).transpose(1, 2), None
    grouped = query.shape[1] != key.shape[1]
    out = F.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling, enable_gqa=grouped
    )
    return out.transpose(1, 2), None


@contextmanager
def _plainly(model: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Within it ``model`` attends by ``function``, without dropout and gradients; where it can be told to."""
    before, training = implementation(model), [module for module in model.modules() if module.training]
    free = getattr(model, "_can_set_attn_implementation", lambda: True)()
    _register(name, function)
    try:
        model.eval()
        if free:
            model.set_attn_implementation(name)
        with torch.no_grad():
            yield
    finally:
        if free:
            model.set_attn_implementation(before)
        _register(name, attend)  # what was seen is not kept
        for module in training:
            module.training = True


def _register(name: str, function: Callable[..., Any]) -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    def mask(*args: Any, **options: Any) -> torch.Tensor | None:
        """A mask in every case but that in which everything is seen: "causal" alone would cover the prefix."""
        return sdpa_mask(*args, **{**options, "allow_is_causal_skip": False})

    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, mask)
