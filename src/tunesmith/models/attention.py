"""Attention over a flat stream: every segment sees itself and nothing else, and no padding is computed in linears.

Registered with transformers under the name ``tunesmith``; models then call :func:`attend` from every layer.

Shape legend: ``T`` tokens of the stream, ``H`` query heads, ``K`` key-value heads, ``D`` head size, ``B`` segments in
a bucket, ``L`` longest segment of the bucket.

Segments of similar length share a bucket: they are padded to ``L`` only here, where ``B`` matrix products in the
compute dtype beat one kernel call a segment on a CPU (half the time of SDPA a segment at instruction lengths).
Padding stands at the end, so causal rows never reach it; bidirectional models get a key mask.

A layer may carry a ``key_value_prefix``: trained keys and values that every token sees before its own segment. There is
one for all segments; no window hides it (a window of W counts the W tokens of the segment, as without a prefix).

The trap: both the attention function and its mask function must be registered, or transformers drops overlays and
hands us nothing to notice it by.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from tunesmith.contracts.batch import Layout, Prefix
from tunesmith.models.bucketed import bucketed_attention
from tunesmith.models.segments import Shape, buckets, inserted, visible

NAME = "tunesmith"
LONG = 1024
"""Segments beyond this use SDPA one by one: their score matrix would outweigh the other activations."""


def register() -> None:
    """Make ``attn_implementation="tunesmith"`` known to transformers (idempotent)."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, no_mask)


def no_mask(*args: Any, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> None:
    """The mask function: a flat stream has none, its layout says who sees whom."""
    if attention_mask is not None:
        raise RuntimeError("a flat stream was given a padding mask; the padded driver must use another implementation")


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls: ``query [1, H, T, D]``, ``key``/``value [1, K, T, D]`` -> ``[1, T, H, D]``.

    Raises where no ``layout`` came through (a family that drops keyword arguments must not be driven flat) and on
    features that have no flat form here.
    """
    layout: Layout | None = options.get("layout")
    if layout is None:
        raise RuntimeError(f"{type(module).__name__} did not hand the layout to its attention; drive it padded")
    for name in ("s_aux", "position_bias"):
        if options.get(name) is not None:
            raise RuntimeError(f"{type(module).__name__} uses '{name}', which flat attention does not compute")
    causal = options.get("is_causal")
    shape = Shape(
        scaling=float(options.get("scaling") or query.shape[-1] ** -0.5),
        causal=bool(getattr(module, "is_causal", True) if causal is None else causal),
        window=options.get("sliding_window"),
        softcap=options.get("softcap"),
        dropout=float(options.get("dropout") or 0.0),
    )
    prefix: Prefix | None = getattr(module, "key_value_prefix", None)
    if layout.cache is not None:
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        options = {"scaling": shape.scaling, "window": shape.window, "softcap": shape.softcap}
        return layout.cache.attend(layer, query, key, value, prefix=prefix, **options), None
    return segment_attention(query, key, value, layout, shape, prefix), None


def segment_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    shape: Shape,
    prefix: Prefix | None = None,
) -> torch.Tensor:
    """Attention within each segment: ``[1, H, T, D]``, ``[1, K, T, D]`` twice -> ``[1, T, H, D]``."""
    if _varlen_fits(query, shape, prefix):
        return _varlen(query, key, value, layout, shape, prefix)
    long = max(layout.lengths) > LONG
    if shape.softcap is not None or long:
        explicit = shape.softcap is not None or shape.dropout > 0.0
        return _each(query, key, value, layout, shape, prefix, explicit=explicit)
    return bucketed_attention(
        query,
        key,
        value,
        buckets(layout.lengths, str(query.device)),
        shape,
        prefix=prefix,
    )


def _varlen_fits(query: torch.Tensor, shape: Shape, prefix: Prefix | None) -> bool:
    fast = query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)
    # the kernel's window would hide the prefix
    plain = shape.dropout == 0.0 and shape.softcap is None and (prefix is None or shape.window is None)
    return fast and plain and query.shape[-1] <= 256


def _varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, shape: Shape, prefix: Prefix | None
) -> torch.Tensor:
    """FlashAttention over the whole stream (CUDA, half precision). A window of W counts the token itself.

    Causal is aligned at the end of a segment's keys, so a prefix in front of them is seen by all of its tokens.
    """
    from torch.nn.attention.varlen import varlen_attn

    starts, key_starts = layout.starts.to(torch.int32), layout.starts.to(torch.int32)
    longest, more = max(layout.lengths), 0
    if prefix is not None:
        more = prefix.keys.shape[1]
        places = inserted(layout.lengths, more, sum(layout.lengths), str(query.device))
        key_starts = places.starts.to(torch.int32)
        key, value = (
            torch.cat([first, own[0]], dim=1).index_select(1, places.source)[None]
            for first, own in ((prefix.keys, key), (prefix.values, value))
        )
    left = -1 if shape.window is None else shape.window - 1
    out = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        starts,
        key_starts,
        longest,
        longest + more,
        scale=shape.scaling,
        window_size=(left, 0 if shape.causal else left),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(out, torch.Tensor)
    return out[None]


def _each(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    shape: Shape,
    prefix: Prefix | None,
    *,
    explicit: bool,
) -> torch.Tensor:
    """One segment after the other, by SDPA or (soft-cap, dropout) with explicit scores."""
    grouped = query.shape[1] != key.shape[1]
    outputs, start = [], 0
    for length in layout.lengths:
        rows = slice(start, start + length)
        q, k, v = query[:, :, rows], key[:, :, rows], value[:, :, rows]
        more = 0
        if prefix is not None:
            more = prefix.keys.shape[1]
            k, v = torch.cat([prefix.keys[None], k], dim=2), torch.cat([prefix.values[None], v], dim=2)
        if explicit:
            mask = visible(length, causal=shape.causal, window=shape.window, device=query.device, prefix=more)
            outputs.append(explicit_attention(q, k, v, mask, shape))
        elif shape.window is None and not (more and shape.causal):
            outputs.append(
                F.scaled_dot_product_attention(
                    q, k, v, is_causal=shape.causal and length > 1, scale=shape.scaling, enable_gqa=grouped
                )
            )
        else:
            mask = visible(length, causal=shape.causal, window=shape.window, device=query.device, prefix=more)
            outputs.append(
                F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=shape.scaling, enable_gqa=grouped)
            )
        start += length
    beyond = query.shape[2] - start
    if beyond:
        outputs.append(value.new_zeros(1, query.shape[1], beyond, value.shape[3]))
    return torch.cat(outputs, dim=2).transpose(1, 2)


def explicit_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, shape: Shape
) -> torch.Tensor:
    """``[B, H, Q, D]``, ``[B, K, L, D]`` twice -> ``[B, H, Q, D]`` by its scores; bool ``mask`` (``[Q, L]`` or one that
    broadcasts) is true where a key is seen."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(2, 3) * shape.scaling
    if shape.softcap is not None:
        scores = shape.softcap * torch.tanh(scores / shape.softcap)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return F.dropout(weights, p=shape.dropout) @ value
