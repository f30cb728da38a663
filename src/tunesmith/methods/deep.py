"""Trained keys and values in every layer: what `prefix` and `p-tuning-v2` put on a model.

    O = softmax(Q [K_prefix ; K]ᵀ · s + mask) [V_prefix ; V]        every real token sees all of the prefix

Before each pass of the model's body its attention layers are given their part of one table ``[P, Σ 2·K·D]`` (layer by
layer, keys before values, PEFT's order); the attention functions do the rest (``models.attention``,
``models.prefixed``). No cache holds a prefix, so packing, activation checkpointing and generation are the same rule.

Positions of real tokens start at ``P``, as they do in PEFT, where prefixes are a cache that was filled before. A
sliding window never hides the prefix. (PEFT keeps it in the cache, so there its first tokens fall out of windows.)

The trap: activation checkpointing with ``use_reentrant=True`` runs the network of `prefix` backwards once a layer,
which autograd refuses; use ``use_reentrant=False``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from tunesmith.contracts.batch import Prefix
from tunesmith.methods.attached_vectors import AttachedVectors
from tunesmith.methods.vectors import Vectors, check_base, start_ids
from tunesmith.models import attention, prefixed
from tunesmith.models.drivers import first_position
from tunesmith.models.prefixed import PLACE, Seen


class AttachedPrefix(AttachedVectors):
    """Vectors ``[P, Σ 2·K·D]`` as keys and values of ``layers`` (as ``prefixed.look`` found them)."""

    PEFT = "PREFIX_TUNING"

    def __init__(
        self,
        model: Any,
        vectors: Vectors,
        layers: Sequence[Seen],
        *,
        heads: Sequence[str] = (),
        head_rate: float = 1.0,
    ) -> None:
        body = prefixed.entrance(model)
        paths = {module: path for path, module in body.named_modules()}
        self._layers = {paths[seen.module]: (seen.keys.shape[0], seen.keys.shape[2]) for seen in layers}
        self._numbered = "position_ids" in inspect.signature(body.forward).parameters
        self._without = prefixed.implementation(model)
        super().__init__(model, vectors, heads=heads, head_rate=head_rate)

    def before(self, body: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """Give each layer its keys and values; shift positions."""
        prefixed.require(body)
        parts = getattr(body, PLACE)().split([2 * heads * size for heads, size in self._layers.values()], dim=1)
        for (path, (heads, size)), part in zip(self._layers.items(), parts, strict=True):
            keys, values = part.view(self.tokens, 2, heads, size).permute(1, 2, 0, 3).contiguous()
            body.get_submodule(path).key_value_prefix = Prefix(keys, values)
        if not self._numbered:
            return inputs
        positions = inputs.get("position_ids")
        return inputs | {"position_ids": (_counted(body, inputs) if positions is None else positions) + self.tokens}

    def file_config(self) -> dict[str, Any]:
        """PEFT's further entries: the shape of keys and values, and that the network is gone."""
        heads, size = next(iter(self._layers.values()))
        return {
            "token_dim": heads * size,
            "num_attention_heads": heads,
            "num_layers": len(self._layers),
            "encoder_hidden_size": heads * size,
            "prefix_projection": False,
        }

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within it the model answers as the untouched base."""
        # activation checkpointing may run a layer again after this, and must find what it had
        given = {path: getattr(self.body.get_submodule(path), "key_value_prefix", None) for path in self._layers}
        with super().off():
            yield
        for path, prefix in given.items():
            self.body.get_submodule(path).key_value_prefix = prefix

    def _switch_on(self) -> None:
        super()._switch_on()
        self.base.carries_prefix = True
        if prefixed.implementation(self.model) != attention.NAME:
            prefixed.apply(self.model)

    def _switch_off(self) -> None:
        super()._switch_off()
        self.base.carries_prefix = False
        for path in self._layers:
            self.body.get_submodule(path).key_value_prefix = None
        if prefixed.implementation(self.model) == prefixed.NAME:
            self.model.set_attn_implementation(self._without)  # type: ignore[operator]


def _counted(body: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Positions ``[1, T]`` as the body counts them where it is given none."""
    ids, past = inputs.get("input_ids"), inputs.get("past_key_values")
    given = inputs["inputs_embeds"] if ids is None else ids
    seen = 0 if past is None else past.get_seq_length()
    return torch.arange(given.shape[1], device=given.device)[None] + seen + first_position(body)


def begin(model: Any, tokens: int, text: str) -> tuple[Sequence[Seen], torch.Tensor]:
    """The attention layers of ``model`` and, as a table ``[P, Σ 2·K·D]``, their keys and values of ``tokens`` words.

    Raises what ``check_base``, ``start_ids`` and ``prefixed.look`` raise.
    """
    check_base(model, tokens)
    layers = prefixed.look(model, start_ids(model, tokens, text))
    parts = [torch.stack([seen.keys, seen.values]).permute(2, 0, 1, 3).flatten(1) for seen in layers]
    return layers, torch.cat(parts, dim=1)
