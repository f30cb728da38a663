"""Two ways to run a model body over a flat stream: flat (no padding computed) and padded (for families that need it).

Both take the same :class:`Stream` and give hidden states ``[T, d]`` in stream order, so nothing above knows which ran.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F

from tunesmith.contracts.batch import Stream
from tunesmith.models import attention

ROUNDED = 64
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

    def run(stream: Stream) -> torch.Tensor:
        tokens = len(stream.ids)
        more = _rounding(stream)
        hidden: torch.Tensor = body(
            input_ids=F.pad(stream.ids, (0, more))[None],
            position_ids=F.pad(stream.positions, (0, more))[None],
            attention_mask=None,
            layout=stream.layout,
            **options,
        ).last_hidden_state
        return hidden[0, :tokens]

    return run


def _rounding(stream: Stream) -> int:
    """Rows that no segment owns, added to long streams on a CPU so that few product shapes exist (see ``segments``).

    They are at most 63, carry no gradient and are cut off again; short streams and decoding have none.
    """
    tokens = len(stream.ids)
    long = stream.ids.device.type == "cpu" and tokens > 4 * ROUNDED and stream.layout.cache is None
    return -tokens % ROUNDED if long else 0


def padded(model: Any) -> Driver:
    """Pad segments to the longest one and gather the real rows back."""
    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    body = model.base_model
    options = _options(body)
    takes_positions = "position_ids" in inspect.signature(body.forward).parameters

    def run(stream: Stream) -> torch.Tensor:
        lengths = torch.tensor(stream.layout.lengths, device=stream.ids.device)
        real = torch.arange(int(lengths.max()), device=stream.ids.device)[None] < lengths[:, None]
        ids = torch.zeros(real.shape, dtype=stream.ids.dtype, device=stream.ids.device)
        ids[real] = stream.ids
        extra = dict(options)
        if takes_positions:
            positions = torch.zeros_like(ids)
            positions[real] = stream.positions
            extra["position_ids"] = positions
        hidden: torch.Tensor = body(input_ids=ids, attention_mask=real.long(), **extra).last_hidden_state
        return hidden[real]

    return run


def alone(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Hidden states ``[T, d]`` of one sequence run by the model as transformers would run it: the reference."""
    body = model.base_model
    hidden: torch.Tensor = body(input_ids=ids[None], **_options(body)).last_hidden_state
    return hidden[0]


def _options(body: Any) -> dict[str, Any]:
    parameters = inspect.signature(body.forward).parameters
    return {"use_cache": False} if "use_cache" in parameters else {}
