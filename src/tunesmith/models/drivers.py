"""Two ways to run a model body over a flat stream: flat (no padding computed) and padded (for families that need it).

Both take the same :class:`Stream` and give hidden states ``[T, d]`` in stream order, so nothing above knows which ran.

A beginning shared by several segments is computed once by the flat driver. Padded rows, and bidirectional models (whose
beginnings see what follows), are given whole sequences (:func:`expanded`). The trap: in a bidirectional model a
beginning's rows differ from sequence to sequence, so a readout must name the sequence (:func:`apart`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F

from tunesmith.contracts.batch import Batch, Layout, Stream
from tunesmith.models import attention, prefixed
from tunesmith.models.segments import surplus, whole

DriverName = Literal["flat", "padded"]
Driver = Callable[[Stream], torch.Tensor]


def flat(model: Any) -> Driver:
    """Drive ``model.base_model`` on one row of real tokens; segments meet only in ``attention.attend``."""
    attention.register()
    model.set_attn_implementation(attention.NAME)
    if model.config.get_text_config()._attn_implementation != attention.NAME:
        raise RuntimeError(f"{type(model).__name__} did not accept the attention function")
    body = model.base_model
    options = _options(body)
    typed, first, shared = takes_types(model), first_position(body), shares(model, "flat")

    def run(stream: Stream) -> torch.Tensor:
        if stream.layout.parents is not None and not shared:
            sequences, back = expanded(stream)
            return run(sequences).index_select(0, back)
        tokens = len(stream.ids)
        more = 0 if stream.layout.cache else surplus(tokens, stream.ids.device)
        types = {} if stream.types is None or not typed else {"token_type_ids": F.pad(stream.types, (0, more))[None]}
        hidden: torch.Tensor = body(
            input_ids=F.pad(stream.ids, (0, more))[None],
            position_ids=F.pad(stream.positions + first, (0, more))[None],
            attention_mask=None,
            layout=stream.layout,
            **types,
            **options,
        ).last_hidden_state
        return hidden[0, :tokens]

    return run


def padded(model: Any) -> Driver:
    """Pad segments to the longest one and gather the real rows back."""
    if prefixed.carried(model):
        prefixed.apply(model)
    else:
        model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    body = model.base_model
    options = _options(body)
    takes_positions = "position_ids" in inspect.signature(body.forward).parameters
    typed, first = takes_types(model), first_position(body)

    def run(stream: Stream) -> torch.Tensor:
        if stream.layout.parents is not None:
            sequences, back = expanded(stream)
            return run(sequences).index_select(0, back)
        lengths = torch.tensor(stream.layout.lengths, device=stream.ids.device)
        real = torch.arange(int(lengths.max()), device=stream.ids.device)[None] < lengths[:, None]
        ids = torch.zeros(real.shape, dtype=stream.ids.dtype, device=stream.ids.device)
        ids[real] = stream.ids
        extra = dict(options)
        if takes_positions:
            positions = torch.zeros_like(ids)
            positions[real] = stream.positions + first
            extra["position_ids"] = positions
        if typed and stream.types is not None:
            types = torch.zeros_like(ids)
            types[real] = stream.types
            extra["token_type_ids"] = types
        hidden: torch.Tensor = body(input_ids=ids, attention_mask=real.long(), **extra).last_hidden_state
        return hidden[real]

    return run


def shares(model: Any, driver: DriverName) -> bool:
    """Whether ``driver`` computes shared beginnings once: flat, where no attention lets a token see later ones."""
    return driver == "flat" and all(getattr(module, "is_causal", True) for module in model.base_model.modules())


def expanded(stream: Stream) -> tuple[Stream, torch.Tensor]:
    """The whole sequences of a ``stream`` with parents, and the row of each of its rows there, int64 ``[T]``.

    A beginning's rows are those of the first sequence that has it.
    """
    layout, device = stream.layout, str(stream.ids.device)
    assert layout.parents is not None
    sequences = whole(layout.lengths, layout.parents, device)
    found = Stream(
        stream.ids[sequences.source],
        stream.positions[sequences.source],
        Layout(sequences.starts, sequences.lengths, layout.cache),
        None if stream.types is None else stream.types[sequences.source],
    )
    return found, sequences.back


def apart(batch: Batch) -> tuple[Stream, torch.Tensor]:
    """The whole sequences of a ``batch`` with parents, and its readout's rows there, int64 ``[N]``: what is read of a
    beginning for a sequence is that sequence's own row."""
    stream, readout = expanded(batch.main)[0], batch.readout
    return stream, stream.layout.starts[readout.unit] + batch.main.positions[readout.rows]


def takes_types(model: Any) -> bool:
    """Whether ``model`` tells the second text of a pair from the first by token types (BERT does)."""
    return int(getattr(model.config, "type_vocab_size", 0) or 0) > 1


def first_position(body: Any) -> int:
    """The position of a first token: 0, but behind the padding's own in RoBERTa and its kin."""
    embeddings: Any = getattr(body, "embeddings", None)
    return int(embeddings.padding_idx) + 1 if hasattr(embeddings, "create_position_ids_from_input_ids") else 0


def alone(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Hidden states ``[T, d]`` of one sequence run by the model as transformers would run it: the reference."""
    body = model.base_model
    hidden: torch.Tensor = body(input_ids=ids[None], **_options(body)).last_hidden_state
    return hidden[0]


def _options(body: Any) -> dict[str, Any]:
    parameters = inspect.signature(body.forward).parameters
    return {"use_cache": False} if "use_cache" in parameters else {}
