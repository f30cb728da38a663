"""Segmented attention as batched matrix products, with its own backward.

For one bucket, with ``Q [B*K, G*L, D]`` (already scaled), ``Kᵀ``, ``V [B*K, X+Y+L, D]``, ``G = H / K`` query heads a
key-value head, ``X`` prefix tokens (none in most models), ``Y`` tokens of a parent (none in most segments):

    P = softmax(Q Kᵀ + M),  O = (P ∘ D) V
    dV = (P ∘ D)ᵀ dO,  dP = dO Vᵀ ∘ D,  dS = P ∘ (dP − rowsum(dP ∘ P)),  dQ = dS K,  dK = dSᵀ Q

with ``D`` dropout's mask over the share it keeps (all ones without dropout); it is drawn again in backward.

Grouped heads share one product (their rows are stacked), so keys and values are never repeated. Products run in the
compute dtype, softmax keeps float32 inside. ``P`` is saved: segments are short here (see ``attention.LONG``).
A prefix stands in front of each segment's keys, and so does its parent (a beginning shared with other segments), so
that their scores are part of the same product; their gradients are the sums over the segments that saw them.

The trap: a parent's gradient is added to what its own bucket wrote, so ``buckets`` lists parents first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from tunesmith.contracts.batch import Prefix
from tunesmith.models import dropping
from tunesmith.models.segments import Bucket, Shape, visible


def bucketed_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    plan: tuple[Bucket, ...],
    shape: Shape,
    *,
    prefix: Prefix | None = None,
) -> torch.Tensor:
    """``query [1, H, T, D]``, ``key``/``value [1, K, T, D]`` -> ``[1, T, H, D]``; differentiable in all, and in
    ``prefix``, which every row sees."""
    first = (prefix.keys, prefix.values) if prefix else (None, None)
    options = _Options(shape, dropping.fresh_seed() if shape.dropout else 0)
    out: torch.Tensor = _Bucketed.apply(query, key, value, *first, plan, options)
    return out


@dataclass(frozen=True)
class _Options:
    shape: Shape
    seed: int

    def dropped(self, weights: torch.Tensor, index: int) -> torch.Tensor:
        """``weights ∘ D`` for the bucket ``index``: a fresh tensor where anything is dropped."""
        share = self.shape.dropout
        if not share:
            return weights
        return dropping.mask(weights, share, self.seed + index).mul_(weights).mul_(1.0 / dropping.kept(share))


class _Bucketed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        prefix_key: torch.Tensor | None,
        prefix_value: torch.Tensor | None,
        plan: tuple[Bucket, ...],
        options: _Options,
    ) -> torch.Tensor:
        kv_heads = key.shape[1]
        rows = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
        out = _rows_like(rows[0], plan)
        saved: list[torch.Tensor] = []
        for index, bucket in enumerate(plan):
            q = _gather(rows[0], bucket, kv_heads).mul_(options.shape.scaling)
            k = _behind(prefix_key, _gather_seen(rows[1], bucket))
            v = _behind(prefix_value, _gather_seen(rows[2], bucket))
            scores = torch.bmm(q, k.transpose(1, 2))
            probabilities = _softmax(scores, bucket, kv_heads, options.shape)
            _scatter(out, torch.bmm(options.dropped(probabilities, index), v), bucket, kv_heads)
            saved += [q, k, v, probabilities]
        ctx.save_for_backward(*saved)
        ctx.plan, ctx.options, ctx.heads = plan, options, (query.shape[1], kv_heads)
        ctx.prefix = 0 if prefix_key is None else prefix_key.shape[1]
        return out[None]

    @staticmethod
    def backward(ctx: Any, grad_out: torch.Tensor) -> tuple[Any, ...]:
        heads, kv_heads = ctx.heads
        options: _Options = ctx.options
        grad = grad_out[0]
        tokens, _, size = grad.shape
        grads = [_rows_like(grad.new_empty(tokens, count, size), ctx.plan) for count in (heads, kv_heads, kv_heads)]
        of_prefix = [grad.new_zeros(kv_heads, ctx.prefix, size) if ctx.prefix else None for _ in range(2)]
        saved = ctx.saved_tensors  # once: under activation checkpointing a second look is refused
        for index, bucket in enumerate(ctx.plan):
            q, k, v, probabilities = saved[4 * index : 4 * index + 4]
            g = _gather(grad, bucket, kv_heads, zero_padding=True)
            weights = options.dropped(probabilities, index)
            _scatter_seen(grads[2], _apart(torch.bmm(weights.transpose(1, 2), g), of_prefix[1]), bucket)
            scores = options.dropped(torch.bmm(g, v.transpose(1, 2)), index)
            scores = torch._softmax_backward_data(scores, probabilities, -1, probabilities.dtype)
            _scatter(grads[0], torch.bmm(scores, k).mul_(options.shape.scaling), bucket, kv_heads)
            _scatter_seen(grads[1], _apart(torch.bmm(scores.transpose(1, 2), q), of_prefix[0]), bucket)
        return *(tensor.transpose(0, 1)[None] for tensor in grads), *of_prefix, None, None


def _behind(prefix: torch.Tensor | None, segments: torch.Tensor) -> torch.Tensor:
    """``[K, X, D]`` in front of each of ``[B*K, Y+L, D]``."""
    if prefix is None:
        return segments
    return torch.cat([prefix.repeat(segments.shape[0] // prefix.shape[0], 1, 1), segments], dim=1)


def _apart(gradient: torch.Tensor, of_prefix: torch.Tensor | None) -> torch.Tensor:
    """The inverse of :func:`_behind` for a gradient: the prefix's part is added to ``of_prefix``."""
    if of_prefix is None:
        return gradient
    kv_heads, tokens = of_prefix.shape[:2]
    of_prefix += gradient[:, :tokens].unflatten(0, (-1, kv_heads)).sum(0)
    return gradient[:, tokens:]


def _rows_like(rows: torch.Tensor, plan: tuple[Bucket, ...]) -> torch.Tensor:
    """Room for a result; rows beyond the last segment (a stream rounded up in length) are zero."""
    out = torch.empty_like(rows, memory_format=torch.contiguous_format)
    out[sum(len(bucket.target) for bucket in plan) :] = 0
    return out


def _gather(rows: torch.Tensor, bucket: Bucket, kv_heads: int, *, zero_padding: bool = False) -> torch.Tensor:
    """``[T, heads, D]`` -> ``[B*K, G*L, D]`` with the bucket's rows, a fresh tensor."""
    heads, size = rows.shape[1:]
    taken = rows.index_select(0, bucket.rows)
    if zero_padding and not bucket.full:
        kept = torch.zeros(len(bucket.rows), 1, 1, dtype=rows.dtype, device=rows.device)
        kept[bucket.kept] = 1
        taken *= kept
    groups = heads // kv_heads
    shaped = taken.view(bucket.size, bucket.length, kv_heads, groups, size).permute(0, 2, 3, 1, 4)
    return shaped.reshape(bucket.size * kv_heads, groups * bucket.length, size)


def _scatter(out: torch.Tensor, values: torch.Tensor, bucket: Bucket, kv_heads: int) -> None:
    """The inverse of :func:`_gather`, writing only real rows into ``out [T, heads, D]``."""
    heads, size = out.shape[1:]
    shaped = values.view(bucket.size, kv_heads, heads // kv_heads, bucket.length, size).permute(0, 3, 1, 2, 4)
    flat = shaped.reshape(bucket.size * bucket.length, heads, size)
    out.index_copy_(0, bucket.target, flat if bucket.full else flat.index_select(0, bucket.kept))


def _gather_seen(rows: torch.Tensor, bucket: Bucket) -> torch.Tensor:
    """``[T, K, D]`` -> ``[B*K, Y+L, D]``: the parent's rows and the segment's, a fresh tensor."""
    kv_heads = rows.shape[1]
    if bucket.before is None:
        return _gather(rows, bucket, kv_heads)
    taken = rows.index_select(0, bucket.before.rows).unflatten(0, (bucket.size, -1))
    return taken.transpose(1, 2).flatten(0, 1)


def _scatter_seen(out: torch.Tensor, values: torch.Tensor, bucket: Bucket) -> None:
    """The inverse of :func:`_gather_seen` for a gradient: added to the rows of parents, written to the segments'."""
    kv_heads, before = out.shape[1], bucket.before
    _scatter(out, values[:, before.length if before else 0 :], bucket, kv_heads)
    if before is None:
        return
    of_parents = values.unflatten(0, (-1, kv_heads)).transpose(1, 2)
    for (start, length), gradient in zip(before.runs, of_parents, strict=True):
        out[start : start + length] += gradient[before.length - length : before.length]


def _softmax(scores: torch.Tensor, bucket: Bucket, kv_heads: int, shape: Shape) -> torch.Tensor:
    """Softmax over the keys a row may see; ``scores [B*K, G*L, X+Y+L]`` are overwritten."""
    length, causal, window, before = bucket.length, shape.causal, shape.window, bucket.before
    own = scores.shape[-1] - length
    if causal or window is not None:
        parent = before.length if before and window is not None else 0  # without a window it is seen by all
        near = scores[..., own - parent :].view(-1, length, parent + length)
        near.add_(_bias(length, parent, causal, window, scores.dtype, scores.device))
    if before:
        padding = scores[..., own - before.length :][..., : before.hidden.shape[1]].unflatten(0, (-1, kv_heads))
        padding.masked_fill_(before.hidden[:, None, None], float("-inf"))
    if not (causal or bucket.full):
        hidden = torch.arange(length, device=scores.device)[None] >= bucket.lengths[:, None]
        scores[..., own:].view(bucket.size, kv_heads, -1, length).masked_fill_(hidden[:, None, None], float("-inf"))
    probabilities = torch.softmax(scores, dim=-1)
    if window is not None and not (causal or bucket.full):
        # a padded row whose whole window is padding has no key to see; its NaN would spread in backward
        probabilities.nan_to_num_(nan=0.0)
    return probabilities


@lru_cache(maxsize=64)
def _bias(
    length: int, parent: int, causal: bool, window: int | None, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    seen = visible(length, causal=causal, window=window, device=device, parent=parent)
    return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, float("-inf"))
