"""Keys and values of the tokens so far, one row a request, and the two ways to attend with them.

Shape legend: ``R`` rows, ``H`` query heads, ``K`` key-value heads, ``G = H / K``, ``C`` capacity, ``L`` longest row of
a slice of rows, ``T`` new tokens, ``D`` head size, ``P`` prefix tokens.

A *prefill* brings whole prompts, one flat stream without padding: their attention is the training one, by segment. A
*decode step* brings one token a row: its ``G`` query heads of a key-value head share one product with that row's keys,
so that keys are never repeated, and a bias hides what lies beyond the row's length or outside the window. Rows are
read in slices of neighbours, each as far as its own longest row: reading the cache is what a step waits for. Keys are
kept transposed, ``[R, K, D, C]``: their product with a few queries is then twice as fast on a CPU.

Tokens that a method puts in front of every sequence (``KeyValues.after``) stand in the first places of a row; a layer's
prefix stands in none, but is one more product with all rows.

Active requests are rows ``0 .. n-1``. A finished row is overwritten by the last one, so no step computes a dead row.
A prompt that is answered several times is prefilled in one row and copied (``fork``); the row of a finished answer
still begins with its prompt, so the next sample takes it over (``rewind``).
The trap: what lies beyond a row's length must be finite (zeros or stale), for 0 times NaN is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
import torch.nn.functional as F

from tunesmith.contracts.batch import Layout, Prefix, Stream
from tunesmith.models.attention import segment_attention
from tunesmith.models.segments import Shape

_BLOCK = 32
"""capacity grows by this: more room would spread the rows over memory, and reading them is what a step waits for"""
_GRID = 16
"""slices are read in multiples of this, so that few product shapes exist (CPU libraries compile a kernel for each)"""
_SLICE = 8
"""fewest rows of a slice: below, more calls cost more than less reading saves"""


class Cache:
    """Rows of keys ``[R, K, D, C]`` and values ``[R, K, C, D]``, each a layer, made when a layer first asks."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.lengths: list[int] = []
        """Tokens of each active row, without those that a method puts in front."""
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self._capacity = 0
        self._spare: torch.Tensor | None = None
        """Memory ``[elements]`` that a store has left, all of it finite."""

    def prefill(self, prompts: Sequence[Sequence[int]], device: torch.device) -> Stream:
        """A stream that fills one new row a prompt when a model is run on it. ``len(prompts)`` rows must be free."""
        counts = [len(prompt) for prompt in prompts]
        first = self._take(counts)
        step = _Prefill(self, first, counts, device)
        ids = torch.tensor([token for prompt in prompts for token in prompt])
        return Stream(ids.to(device), step.positions, replace(step.layout, cache=step))

    def decode(self, tokens: Sequence[int], device: torch.device) -> Stream:
        """A stream of the next token of every active row."""
        if len(tokens) != len(self.lengths):
            raise ValueError(f"{len(tokens)} tokens for {len(self.lengths)} rows")
        step = _Decode(self, self.lengths, device)
        self.lengths = [length + 1 for length in self.lengths]
        layout = replace(_layout([1] * len(tokens), device), cache=step)
        return Stream(torch.tensor(tokens, device=device), step.positions, layout)

    def fork(self, sources: Sequence[int], lengths: Sequence[int]) -> None:
        """A new row for each of ``sources``: a copy of that row of which ``lengths`` tokens count."""
        first = self._take(lengths)
        for store in (*self._keys.values(), *self._values.values()):
            store[first : first + len(sources)] = store[list(sources)]

    def rewind(self, row: int, length: int) -> None:
        """Forget what ``row`` holds after its first ``length`` tokens."""
        self.lengths[row] = length

    def drop(self, row: int) -> None:
        """Free ``row``; the last row takes its place."""
        last = len(self.lengths) - 1
        if row != last:
            for store in (*self._keys.values(), *self._values.values()):
                store[row] = store[last]
        self.lengths[row] = self.lengths[last]
        self.lengths.pop()

    def stores(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys ``[R, K, D, C]`` and values ``[R, K, C, D]``, made or grown as reserved, like ``[1, K, T, D]``
        of what is to be written."""
        if layer not in self._keys or self._values[layer].shape[2] < self._capacity:
            rows, capacity = (self.rows, key.shape[1]), self._capacity
            self._keys[layer] = self._grown(self._keys.get(layer), key, (*rows, key.shape[3], capacity))
            self._values[layer] = self._grown(self._values.get(layer), value, (*rows, capacity, value.shape[3]))
        return self._keys[layer], self._values[layer]

    def _grown(self, store: torch.Tensor | None, like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """A store of ``shape`` that begins with ``store``.

        Memory is taken twice as large as asked for, and what one store leaves the next one grows into: pages touched
        for the first time cost more than the copy.
        """
        count = math.prod(shape)
        spare, self._spare = self._spare, None
        if spare is None or len(spare) < count:
            spare = like.new_zeros(count if store is None else 2 * count)
        grown = spare[:count].view(shape)
        if store is not None:
            grown[tuple(slice(size) for size in store.shape)] = store
            self._spare = store.as_strided((store.untyped_storage().nbytes() // store.element_size(),), (1,))
        return grown

    def reserve(self, length: int) -> None:
        """Make room for rows of ``length`` tokens when they are next written."""
        if length > self._capacity:
            self._capacity = -(-length // _BLOCK) * _BLOCK

    def _take(self, lengths: Sequence[int]) -> int:
        """New rows behind the active ones; returns the first."""
        first = len(self.lengths)
        if first + len(lengths) > self.rows:
            raise ValueError(f"{len(lengths)} new rows do not fit: {first} of {self.rows} are taken")
        self.lengths += lengths
        return first


class _Prefill:
    """Whole prompts: attention within each, as in training. They fill the rows from ``first`` on."""

    begins = True

    def __init__(self, cache: Cache, first: int, counts: Sequence[int], device: torch.device) -> None:
        self._cache, self._first, self._counts, self._device = cache, first, list(counts), device
        cache.reserve(max(counts))
        self.positions = torch.cat([torch.arange(count) for count in counts]).to(device)
        self.layout = _layout(counts, device)

    def after(self, tokens: int) -> _Prefill:
        """See ``contracts.batch.KeyValues``."""
        return _Prefill(self._cache, self._first, [count + tokens for count in self._counts], self._device)

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
        keys, values = self._cache.stores(layer, key, value)
        start = 0
        for row, count in enumerate(self._counts, start=self._first):
            keys[row, :, :, :count] = key[0, :, start : start + count].transpose(1, 2)
            values[row, :, :count] = value[0, :, start : start + count]
            start += count
        shape = Shape(scaling=scaling, causal=True, window=window, softcap=softcap)
        return segment_attention(query, key, value, self.layout, shape, prefix)


@dataclass(frozen=True)
class _Slice:
    """Neighbouring ``rows`` and how far they are read: ``length`` covers the longest of them."""

    rows: slice
    length: int

    @property
    def size(self) -> int:
        return (self.rows.stop - self.rows.start) * self.length


class _Decode:
    """One token a row: it sees its whole row, or the window's last part of it."""

    begins = False

    def __init__(self, cache: Cache, positions: Sequence[int], device: torch.device) -> None:
        self._cache, self._at = cache, list(positions)
        cache.reserve(max(positions) + 1)
        self.positions = torch.tensor(self._at, device=device)
        self._rows = torch.arange(len(self._at), device=device)
        self._slices = _slices(self._at)
        self._biases: dict[int | None, list[torch.Tensor]] = {}

    def after(self, tokens: int) -> _Decode:
        """See ``contracts.batch.KeyValues``."""
        return _Decode(self._cache, [at + tokens for at in self._at], self._rows.device)

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
        keys, values = self._cache.stores(layer, key, value)
        keys[self._rows, :, :, self.positions] = key[0].transpose(0, 1)
        values[self._rows, :, self.positions] = value[0].transpose(0, 1)
        heads, rows, size = query.shape[1:]
        q = (query[0].transpose(0, 1) * scaling).view(rows, key.shape[1], heads // key.shape[1], size)
        out = torch.cat(
            [
                _attended(
                    q[part.rows], keys[part.rows, ..., : part.length], values[part.rows, :, : part.length],
                    bias, softcap, prefix,
                )
                for part, bias in zip(self._slices, self._bias(window, q.dtype), strict=True)
            ]
        )  # fmt: skip
        return out.reshape(1, rows, heads, values.shape[3])

    def _bias(self, window: int | None, dtype: torch.dtype) -> list[torch.Tensor]:
        """``[rows, 1, 1, L]`` a slice, 0 where seen and minus infinity elsewhere, made once a step for all layers.

        A window of W counts the token itself.
        """
        if window not in self._biases:
            self._biases[window] = [_hidden(self.positions[part.rows], part, window, dtype) for part in self._slices]
        return self._biases[window]


def _hidden(positions: torch.Tensor, part: _Slice, window: int | None, dtype: torch.dtype) -> torch.Tensor:
    own = positions[:, None]
    column = torch.arange(part.length, device=own.device)[None]
    seen = column <= own
    if window is not None:
        seen &= column > own - window
    bias = torch.zeros(seen.shape, dtype=dtype, device=own.device).masked_fill_(~seen, float("-inf"))
    return bias[:, None, None]


def _slices(positions: Sequence[int]) -> list[_Slice]:
    """Neighbouring rows of similar length: slices are joined unless apart they read a tenth less."""
    found: list[_Slice] = []
    for start in range(0, len(positions), _SLICE):
        end = min(start + _SLICE, len(positions))
        part = _Slice(slice(start, end), -(-(max(positions[start:end]) + 1) // _GRID) * _GRID)
        if found:
            both = _Slice(slice(found[-1].rows.start, end), max(found[-1].length, part.length))
            if (found[-1].size + part.size) * 10 > both.size * 9:
                found[-1] = both
                continue
        found.append(part)
    return found


def _attended(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    bias: torch.Tensor,
    softcap: float | None,
    prefix: Prefix | None,
) -> torch.Tensor:
    """Scaled queries ``[R, K, G, D]``, keys ``[R, K, D, L]``, values ``[R, K, L, D]`` -> ``[R, K, G, D]``."""
    scores = _product(query, keys)
    more = 0 if prefix is None else prefix.keys.shape[1]
    if prefix is not None:
        scores = torch.cat([torch.einsum("rkgd,kpd->rkgp", query, prefix.keys), scores], dim=-1)
        bias = F.pad(bias, (more, 0))
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    weights = scores.add_(bias).softmax(dim=-1)
    out = _product(weights[..., more:], values)
    return out if prefix is None else out + torch.einsum("rkgp,kpd->rkgd", weights[..., :more], prefix.values)


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Batched product over the first two dimensions, without the copy that ``matmul`` makes of strided operands."""
    return torch.bmm(left.flatten(0, 1), right.flatten(0, 1)).unflatten(0, left.shape[:2])


def _layout(counts: Sequence[int], device: torch.device) -> Layout:
    return Layout(torch.tensor([0, *accumulate(counts)], device=device), tuple(counts))
