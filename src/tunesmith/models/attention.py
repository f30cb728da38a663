"""Attention over a flat stream: every segment sees itself, and the shared beginning it goes on from, and nothing else;
no padding is computed in linears.

Registered with transformers under the name ``tunesmith``; models then call :func:`attend` from every layer.

Shape legend: ``T`` tokens of the stream, ``H`` query heads, ``K`` key-value heads, ``D`` head size, ``B`` segments in
a bucket, ``L`` longest segment of the bucket.

Segments of similar length share a bucket: they are padded to ``L`` only here, where ``B`` matrix products in the
compute dtype beat one kernel call a segment on a CPU (half the time of SDPA a segment at instruction lengths).
Padding stands at the end, so causal rows never reach it; bidirectional models get a key mask.

A segment with a parent (``Layout.parents``) sees all of the parent and then itself, causally: what its whole sequence
would give, and the parent's rows are computed once for all that go on from it. A window counts the parent's tokens.
Bidirectional models let a beginning see what follows, so drivers give them whole sequences.

A layer may carry a ``key_value_prefix``: trained keys and values that every token sees before its own sequence. There
is one for all; no window hides it (a window of W counts the W tokens of the sequence, as without a prefix).

The trap: both the attention function and its mask function must be registered, or transformers drops overlays and
hands us nothing to notice it by.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from tunesmith.contracts.batch import Layout, Prefix
from tunesmith.models.bucketed import bucketed_attention
from tunesmith.models.segments import Seen, Shape, buckets, seen, visible

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
    if layout.parents is not None and not shape.causal:
        raise RuntimeError(f"{type(module).__name__} is bidirectional: a beginning would not see what follows it")
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
    """Attention within each segment and its parent: ``[1, H, T, D]``, ``[1, K, T, D]`` twice -> ``[1, T, H, D]``."""
    if _varlen_fits(query, shape, prefix):
        return _varlen(query, key, value, layout, shape, prefix)
    long = _plan(query, layout, prefix).longest > LONG
    if shape.softcap is not None or long:
        explicit = shape.softcap is not None or shape.dropout > 0.0
        return _each(query, key, value, layout, shape, prefix, explicit=explicit)
    return bucketed_attention(
        query,
        key,
        value,
        buckets(layout.lengths, layout.parents, str(query.device)),
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

    Causal is aligned at the end of a segment's keys, so a prefix or a parent in front of them is seen by all of its
    tokens, the parent within the window.
    """
    from torch.nn.attention.varlen import varlen_attn

    plan = _plan(query, layout, prefix)
    key, value = _joined(key, value, prefix, plan)
    left = -1 if shape.window is None else shape.window - 1
    out = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        layout.starts.to(torch.int32),
        plan.starts.to(torch.int32),
        max(layout.lengths),
        plan.longest,
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
    more = 0 if prefix is None else prefix.keys.shape[1]
    plan = _plan(query, layout, prefix)
    key, value = _joined(key, value, prefix, plan)
    queries = query.split([*layout.lengths, query.shape[2] - sum(layout.lengths)], dim=2)
    keys, values = (rows[:, :, : sum(plan.lengths)].split(plan.lengths, dim=2) for rows in (key, value))
    outputs = []
    for q, k, v in zip(queries, keys, values, strict=False):
        length, front = q.shape[2], k.shape[2] - q.shape[2]
        if not explicit and shape.window is None and not (shape.causal and front > length):
            outputs.append(_kernel(q, k, v, shape))
            continue
        mask = visible(
            length, causal=shape.causal, window=shape.window, device=query.device, parent=front - more, prefix=more
        )
        outputs.append(explicit_attention(q, k, v, mask, shape) if explicit else _kernel(q, k, v, shape, mask))
    beyond = value.new_zeros(1, query.shape[1], queries[-1].shape[2], value.shape[3])
    return torch.cat([*outputs, beyond], dim=2).transpose(1, 2)


def _kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, shape: Shape, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """SDPA of ``query [1, H, Q, D]`` over all that ``mask`` shows, else over keys causally aligned at the end."""
    causal = shape.causal and mask is None
    # the kernel aligns at the start, and skips what is hidden only where it is told no mask: empty queries in front
    # cost less than a mask does where they are few
    front = key.shape[2] - query.shape[2] if causal else 0
    out = F.scaled_dot_product_attention(
        F.pad(query, (0, 0, front, 0)) if front else query,
        key,
        value,
        attn_mask=mask,
        is_causal=causal,
        scale=shape.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out[:, :, front:]


def _plan(query: torch.Tensor, layout: Layout, prefix: Prefix | None) -> Seen:
    more = 0 if prefix is None else prefix.keys.shape[1]
    return seen(layout.lengths, layout.parents, more, str(query.device))


def _joined(
    key: torch.Tensor, value: torch.Tensor, prefix: Prefix | None, plan: Seen
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of each segment in turn, the prefix and its parent in front; the stream's where none is."""
    if plan.source is None:
        return key, value
    if prefix is not None:
        key, value = torch.cat([prefix.keys[None], key], dim=2), torch.cat([prefix.values[None], value], dim=2)
    return key.index_select(2, plan.source), value.index_select(2, plan.source)


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
