"""Keys and values of the tokens so far, one row a request, and the two ways to attend with them.

Shape legend: ``R`` rows, ``H`` query heads, ``K`` key-value heads, ``G = H / K``, ``C`` capacity, ``L`` longest row,
``T`` new tokens, ``D`` head size.

A *prefill* brings whole prompts, one flat stream without padding: their attention is the training one, by segment. A
*decode step* brings one token a row: its ``G`` query heads of a key-value head share one product with that row's keys,
so that keys are never repeated, and a bias hides what lies beyond the row's length or outside the window.

Tokens that a method puts in front of every sequence (``KeyValues.after``) stand in the first places of a row; a layer's
prefix stands in none, but is one more product with all rows.

Active requests are rows ``0 .. n-1``. A finished row is overwritten by the last one, so no step computes a dead row.
The trap: what lies beyond a row's length must be finite (zeros or stale), for 0 times NaN is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
import torch.nn.functional as F

from tunesmith.contracts.batch import Layout, Prefix, Stream
from tunesmith.models.attention import segment_attention
from tunesmith.models.segments import Shape

_BLOCK = 64
"""capacity is a multiple of this and grows by half, so that copying stays rare"""


class Cache:
    """Rows of keys and values, ``[R, K, C, D]`` each a layer, made when the first layer asks for them."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.lengths: list[int] = []
        """Tokens of each active row, without those that a method puts in front."""
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self._capacity = 0

    def prefill(self, prompts: Sequence[Sequence[int]], device: torch.device) -> Stream:
        """A stream that fills one new row a prompt when a model is run on it. ``len(prompts)`` rows must be free."""
        counts = [len(prompt) for prompt in prompts]
        first = len(self.lengths)
        if first + len(counts) > self.rows:
            raise ValueError(f"{len(counts)} new rows do not fit: {first} of {self.rows} are taken")
        self.lengths += counts
        step = _Prefill(self, first, counts, device)
        ids = torch.tensor([token for prompt in prompts for token in prompt])
        return Stream(ids.to(device), step.places.positions, replace(step.layout, cache=step))

    def decode(self, tokens: Sequence[int], device: torch.device) -> Stream:
        """A stream of the next token of every active row."""
        if len(tokens) != len(self.lengths):
            raise ValueError(f"{len(tokens)} tokens for {len(self.lengths)} rows")
        step = _Decode(self, self.lengths, device)
        self.lengths = [length + 1 for length in self.lengths]
        layout = replace(_layout([1] * len(tokens), device), cache=step)
        return Stream(torch.tensor(tokens, device=device), step.places.positions, layout)

    def drop(self, row: int) -> None:
        """Free ``row``; the last row takes its place."""
        last = len(self.lengths) - 1
        if row != last:
            for store in (*self._keys.values(), *self._values.values()):
                store[row] = store[last]
        self.lengths[row] = self.lengths[last]
        self.lengths.pop()

    def append(self, layer: int, key: torch.Tensor, value: torch.Tensor, places: _Places) -> None:
        """Put ``key``/``value`` ``[1, K, T, D]`` of ``layer`` in their ``places``."""
        for stores, new in ((self._keys, key), (self._values, value)):
            if layer not in stores or stores[layer].shape[2] < self._capacity:
                stores[layer] = self._grown(stores.get(layer), new)
            stores[layer][places.rows, :, places.positions] = new[0].transpose(0, 1)

    def layer(self, layer: int, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Views ``[rows, K, length, D]`` of a layer's keys and values."""
        return self._keys[layer][:rows, :, :length], self._values[layer][:rows, :, :length]

    def reserve(self, length: int) -> None:
        """Make room for rows of ``length`` tokens when they are next written."""
        if length > self._capacity:
            self._capacity = -(-max(length + 1, self._capacity * 3 // 2) // _BLOCK) * _BLOCK

    def _grown(self, old: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        new = like.new_zeros(self.rows, like.shape[1], self._capacity, like.shape[3])
        if old is not None:
            new[:, :, : old.shape[2]] = old
        return new


@dataclass(frozen=True)
class _Places:
    """Where new tokens go: ``rows``, ``positions`` int64 ``[T]``."""

    rows: torch.Tensor
    positions: torch.Tensor


class _Prefill:
    """Whole prompts: attention within each, as in training. They fill the rows from ``first`` on."""

    begins = True

    def __init__(self, cache: Cache, first: int, counts: Sequence[int], device: torch.device) -> None:
        self._cache, self._first, self._counts = cache, first, list(counts)
        cache.reserve(max(counts))
        rows = torch.arange(first, first + len(counts)).repeat_interleave(torch.tensor(counts))
        positions = torch.cat([torch.arange(count) for count in counts])
        self.places = _Places(rows.to(device), positions.to(device))
        self.layout = _layout(counts, device)

    def after(self, tokens: int) -> _Prefill:
        """See ``contracts.batch.KeyValues``."""
        counts = [count + tokens for count in self._counts]
        return _Prefill(self._cache, self._first, counts, self.places.rows.device)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scaling: float,
        window: int | None,
        softcap: float | None = None,
        prefix: Prefix | None = None,
    ) -> torch.Tensor:
        """See ``contracts.batch.KeyValues``."""
        self._cache.append(layer, key, value, self.places)
        shape = Shape(scaling=scaling, causal=True, window=window, softcap=softcap)
        return segment_attention(query, key, value, self.layout, shape, prefix)


class _Decode:
    """One token a row: it sees its whole row, or the window's last part of it."""

    begins = False

    def __init__(self, cache: Cache, positions: Sequence[int], device: torch.device) -> None:
        self._cache, self._positions = cache, list(positions)
        self._longest = max(positions) + 1
        cache.reserve(self._longest)
        self.places = _Places(torch.arange(len(positions), device=device), torch.tensor(positions, device=device))
        self._biases: dict[int | None, torch.Tensor] = {}

    def after(self, tokens: int) -> _Decode:
        """See ``contracts.batch.KeyValues``."""
        return _Decode(self._cache, [at + tokens for at in self._positions], self.places.rows.device)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scaling: float,
        window: int | None,
        softcap: float | None = None,
        prefix: Prefix | None = None,
    ) -> torch.Tensor:
        """See ``contracts.batch.KeyValues``."""
        self._cache.append(layer, key, value, self.places)
        heads, rows, size = query.shape[1:]
        keys, values = self._cache.layer(layer, rows, self._longest)
        q = query[0].transpose(0, 1).reshape(rows, key.shape[1], heads // key.shape[1], size)
        bias = self._bias(window, q.dtype)
        if softcap is None and prefix is None:
            out = F.scaled_dot_product_attention(q, keys, values, attn_mask=bias, scale=scaling)
        else:
            out = _explicit(q, keys, values, bias, scaling=scaling, softcap=softcap, prefix=prefix)
        return out.reshape(1, rows, heads, values.shape[3])

    def _bias(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """``[rows, 1, 1, L]``, 0 where seen and minus infinity elsewhere, made once a step for all layers.

        A window of W counts the token itself.
        """
        if window not in self._biases:
            own = self.places.positions[:, None]
            column = torch.arange(self._longest, device=own.device)[None]
            seen = column <= own
            if window is not None:
                seen &= column > own - window
            bias = torch.zeros(seen.shape, dtype=dtype, device=own.device).masked_fill_(~seen, float("-inf"))
            self._biases[window] = bias[:, None, None]
        return self._biases[window]


def _explicit(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    bias: torch.Tensor,
    *,
    scaling: float,
    softcap: float | None,
    prefix: Prefix | None,
) -> torch.Tensor:
    """``[R, K, G, D]`` queries, ``[R, K, L, D]`` keys and values -> ``[R, K, G, D]``, by their scores."""
    scores = query @ keys.transpose(2, 3) * scaling
    more = 0 if prefix is None else prefix.keys.shape[1]
    if prefix is not None:
        scores = torch.cat([torch.einsum("rkgd,kpd->rkgp", query, prefix.keys) * scaling, scores], dim=-1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    weights = (scores + F.pad(bias, (more, 0))).softmax(dim=-1, dtype=torch.float32).to(values.dtype)
    out = weights[..., more:] @ values
    return out if prefix is None else out + torch.einsum("rkgp,kpd->rkgd", weights[..., :more], prefix.values)


def _layout(counts: Sequence[int], device: torch.device) -> Layout:
    return Layout(torch.tensor([0, *accumulate(counts)], device=device), tuple(counts))
