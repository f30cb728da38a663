"""Keys and values of the tokens so far, one row a request, and the two ways to attend with them.

Shape legend: ``R`` rows, ``H`` query heads, ``K`` key-value heads, ``G = H / K``, ``C`` capacity, ``L`` longest row,
``T`` new tokens, ``D`` head size.

A *prefill* brings whole prompts, one flat stream without padding: their attention is the training one, by segment. A
*decode step* brings one token a row: its ``G`` query heads of a key-value head share one product with that row's keys,
so that keys are never repeated, and a bias hides what lies beyond the row's length or outside the window.

Active requests are rows ``0 .. n-1``. A finished row is overwritten by the last one, so no step computes a dead row.
The trap: what lies beyond a row's length must be finite (zeros or stale), for 0 times NaN is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
import torch.nn.functional as F

from tunesmith.contracts.batch import Layout, Stream
from tunesmith.models.attention import Shape, segment_attention

_BLOCK = 64
"""capacity is a multiple of this and grows by half, so that copying stays rare"""


class Cache:
    """Rows of keys and values, ``[R, K, C, D]`` each a layer, made when the first layer asks for them."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.lengths: list[int] = []
        """Tokens of each active row."""
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self._capacity = 0

    def prefill(self, prompts: Sequence[Sequence[int]], device: torch.device) -> Stream:
        """A stream that fills one new row a prompt when a model is run on it. ``len(prompts)`` rows must be free."""
        counts = [len(prompt) for prompt in prompts]
        first = len(self.lengths)
        if first + len(counts) > self.rows:
            raise ValueError(f"{len(counts)} new rows do not fit: {first} of {self.rows} are taken")
        rows = torch.arange(first, first + len(counts)).repeat_interleave(torch.tensor(counts))
        positions = torch.cat([torch.arange(count) for count in counts])
        self.lengths += counts
        plain = _layout(counts, device)
        step = _Prefill(self, self._places(rows, positions, device), plain)
        ids = torch.tensor([token for prompt in prompts for token in prompt])
        return Stream(ids.to(device), positions.to(device), replace(plain, cache=step))

    def decode(self, tokens: Sequence[int], device: torch.device) -> Stream:
        """A stream of the next token of every active row."""
        if len(tokens) != len(self.lengths):
            raise ValueError(f"{len(tokens)} tokens for {len(self.lengths)} rows")
        positions = torch.tensor(self.lengths)
        self.lengths = [length + 1 for length in self.lengths]
        step = _Decode(self, self._places(torch.arange(len(tokens)), positions, device), max(self.lengths))
        layout = replace(_layout([1] * len(tokens), device), cache=step)
        return Stream(torch.tensor(tokens, device=device), positions.to(device), layout)

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

    def _places(self, rows: torch.Tensor, positions: torch.Tensor, device: torch.device) -> _Places:
        needed = max(self.lengths)
        if needed > self._capacity:
            self._capacity = -(-max(needed + 1, self._capacity * 3 // 2) // _BLOCK) * _BLOCK
        return _Places(rows.to(device), positions.to(device))

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
    """Whole prompts: attention within each, as in training."""

    def __init__(self, cache: Cache, places: _Places, layout: Layout) -> None:
        self._cache, self._places, self._layout = cache, places, layout

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
    ) -> torch.Tensor:
        """See ``contracts.batch.KeyValues``."""
        self._cache.append(layer, key, value, self._places)
        shape = Shape(scaling=scaling, causal=True, window=window, softcap=softcap)
        return segment_attention(query, key, value, self._layout, shape)


class _Decode:
    """One token a row: it sees its whole row, or the window's last part of it."""

    def __init__(self, cache: Cache, places: _Places, longest: int) -> None:
        self._cache, self._places, self._longest = cache, places, longest
        self._biases: dict[int | None, torch.Tensor] = {}

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
    ) -> torch.Tensor:
        """See ``contracts.batch.KeyValues``."""
        self._cache.append(layer, key, value, self._places)
        heads, rows, size = query.shape[1:]
        keys, values = self._cache.layer(layer, rows, self._longest)
        q = query[0].transpose(0, 1).reshape(rows, key.shape[1], heads // key.shape[1], size)
        bias = self._bias(window, q.dtype)
        if softcap is None:
            out = F.scaled_dot_product_attention(q, keys, values, attn_mask=bias, scale=scaling)
        else:
            scores = softcap * torch.tanh(q @ keys.transpose(2, 3) * scaling / softcap) + bias
            out = scores.softmax(dim=-1, dtype=torch.float32).to(values.dtype) @ values
        return out.reshape(1, rows, heads, values.shape[3])

    def _bias(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """``[rows, 1, 1, L]``, 0 where seen and minus infinity elsewhere, made once a step for all layers.

        A window of W counts the token itself.
        """
        if window not in self._biases:
            own = self._places.positions[:, None]
            column = torch.arange(self._longest, device=own.device)[None]
            seen = column <= own
            if window is not None:
                seen &= column > own - window
            bias = torch.zeros(seen.shape, dtype=dtype, device=own.device).masked_fill_(~seen, float("-inf"))
            self._biases[window] = bias[:, None, None]
        return self._biases[window]


def _layout(counts: Sequence[int], device: torch.device) -> Layout:
    return Layout(torch.tensor([0, *accumulate(counts)], device=device), tuple(counts))
