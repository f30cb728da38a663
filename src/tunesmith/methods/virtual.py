"""Virtual tokens in front of every sequence: the inputs of the model's body, and its outputs without them.

Three call shapes become one rule, "the vectors come before the first real token, positions count on from them":

* flat (``layout=``): before each segment that starts a sequence (one with a parent sees its parent's), also where our
  decoding cache is filled; decoding only shifts positions;
* padded or plain: after the padding on the left, if any, so that a row's numbers do not depend on its neighbours (a
  sliding window counts places, padding included); transformers' ``generate`` goes on by shifting;
* outputs: hidden states lose the virtual rows, so that labels, readout and heads are as without them. A pooler (BERT)
  reads the first *real* token.

Attention weights, where asked for, keep their virtual rows and columns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from tunesmith.contracts.batch import Layout
from tunesmith.errors import UserError
from tunesmith.methods.attached_vectors import AttachedVectors
from tunesmith.models.drivers import first_position
from tunesmith.models.prefixed import PLACE
from tunesmith.models.segments import inserted, surplus


class AttachedPrompt(AttachedVectors):
    """Vectors ``[P, d]`` as the first inputs of a model."""

    PEFT = "PROMPT_TUNING"
    _kept: torch.Tensor | None = None
    """Where the rows of the pass under way went; None where none moved."""

    def before(self, body: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """Put the vectors in front of every sequence that starts here; shift positions."""
        self._kept = None
        layout: Layout | None = inputs.get("layout")
        if layout is not None:
            going_on = layout.cache is not None and not layout.cache.begins
            return self._next(inputs, layout) if going_on else self._flat(body, inputs, layout)
        return self._rows(body, inputs)

    def after(self, body: Any, output: Any) -> Any:
        """Take the virtual rows out of hidden states."""
        if self._kept is None:
            return output
        output.last_hidden_state = self._real(output.last_hidden_state)
        if getattr(output, "hidden_states", None) is not None:
            output.hidden_states = tuple(self._real(hidden) for hidden in output.hidden_states)
        if getattr(output, "pooler_output", None) is not None:
            output.pooler_output = body.pooler(output.last_hidden_state)
        return output

    def file_config(self) -> dict[str, Any]:
        """PEFT's further entries: the shape of the base."""
        base: Any = self.model
        config = base.config.get_text_config()
        return {
            "token_dim": self.vectors.embedding.shape[1],
            "num_attention_heads": config.num_attention_heads,
            "num_layers": config.num_hidden_layers,
        }

    def _next(self, inputs: dict[str, Any], layout: Layout) -> dict[str, Any]:
        assert layout.cache is not None
        later = replace(layout, cache=layout.cache.after(self.tokens))
        return inputs | {"layout": later, "position_ids": inputs["position_ids"] + self.tokens}

    def _flat(self, body: Any, inputs: dict[str, Any], layout: Layout) -> dict[str, Any]:
        words = _embedded(body, inputs)[0]
        vectors = getattr(body, PLACE)().to(words.dtype)
        places = inserted(layout.lengths, self.tokens, len(words), str(words.device), parents=layout.parents)
        cache = layout.cache.after(self.tokens) if layout.cache is not None else None
        source = places.source if cache else F.pad(places.source, (0, surplus(len(places.source), words.device)))
        counted = torch.arange(self.tokens, device=words.device)
        positions = torch.cat([counted + first_position(body), inputs["position_ids"][0] + self.tokens])
        changed: dict[str, Any] = {
            "input_ids": None,
            "inputs_embeds": torch.cat([vectors, words]).index_select(0, source)[None],
            "position_ids": positions[source][None],
            "layout": Layout(places.starts, places.lengths, cache, layout.parents),
        }
        if inputs.get("token_type_ids") is not None:
            changed["token_type_ids"] = torch.cat([counted * 0, inputs["token_type_ids"][0]])[source][None]
        self._kept = places.kept
        return inputs | changed

    def _rows(self, body: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """Padded rows ``[B, T]``, a plain call, or a step of transformers' ``generate``."""
        mask, positions = inputs.get("attention_mask"), inputs.get("position_ids")
        if mask is not None and getattr(mask, "ndim", 0) != 2:
            raise UserError(
                "virtual tokens need to know which tokens are padding, and this mask is no mask of tokens",
                got=f"a mask of {tuple(mask.shape)}" if isinstance(mask, torch.Tensor) else type(mask).__name__,
                allowed="attention_mask [B, T], or none",
                code="mask-of-pairs",
            )
        past = inputs.get("past_key_values")
        front = _Front(self.tokens, mask)
        changed: dict[str, Any] = {}
        if mask is not None:
            changed["attention_mask"] = front.put(mask.new_ones(1, self.tokens), mask)
        if past is not None and past.get_seq_length() > 0:
            if positions is not None:
                changed["position_ids"] = positions + self.tokens
            return inputs | changed
        words = _embedded(body, inputs)
        rows, length = words.shape[:2]
        changed["input_ids"] = None
        changed["inputs_embeds"] = front.put(getattr(body, PLACE)()[None].to(words.dtype), words)
        counted = torch.arange(self.tokens, device=words.device)[None]
        if positions is not None:
            positions = positions.expand(rows, length) + self.tokens
            changed["position_ids"] = front.put(counted + first_position(body), positions)
        if inputs.get("token_type_ids") is not None:
            changed["token_type_ids"] = front.put(counted * 0, inputs["token_type_ids"].expand(rows, length))
        self._kept = front.kept(length, words.device)
        return inputs | changed

    def _real(self, hidden: torch.Tensor) -> torch.Tensor:
        kept = self._kept
        assert kept is not None
        if kept.ndim == 1:
            return hidden.index_select(1, kept)
        return hidden[torch.arange(len(kept), device=kept.device)[:, None], kept]


class _Front:
    """The place before the first real token of each padded row, for ``new`` tokens."""

    def __init__(self, new: int, mask: torch.Tensor | None) -> None:
        self._new = new
        self._first = None if mask is None else mask.argmax(dim=1, keepdim=True)

    def put(self, vectors: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """``vectors [1, P, ...]`` into ``rows [B, T, ...]``: ``[B, P + T, ...]``."""
        joined = torch.cat([vectors.expand(len(rows), *vectors.shape[1:]), rows], dim=1)
        if self._first is None:
            return joined
        place = torch.arange(joined.shape[1], device=rows.device)[None]
        source = torch.where(place < self._first + self._new, place - self._first, place)
        source = torch.where(place < self._first, place + self._new, source)
        return joined[torch.arange(len(rows), device=rows.device)[:, None], source]

    def kept(self, length: int, device: torch.device) -> torch.Tensor:
        """Where the ``length`` tokens of each row are afterwards: int64 ``[T]``, or ``[B, T]`` where rows differ."""
        place = torch.arange(length, device=device)
        return place + self._new if self._first is None else place + self._new * (place[None] >= self._first)


def _embedded(body: Any, inputs: dict[str, Any]) -> torch.Tensor:
    given = inputs.get("inputs_embeds")
    found: torch.Tensor = body.get_input_embeddings()(inputs["input_ids"]) if given is None else given
    return found
