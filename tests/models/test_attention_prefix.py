"""Attention with a prefix against a loop over queries, in float64: value and every gradient, of every path."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from tunesmith.contracts.batch import Layout, Prefix
from tunesmith.generation.cache import Cache
from tunesmith.models import attention, prefixed
from tunesmith.models.attention import segment_attention
from tunesmith.models.segments import Shape, inserted

SIZE, TOKENS = 8, 3
LENGTHS = {"one token": (1,), "similar": (12, 11, 13, 10), "very different": (21, 1, 6, 2, 19)}
HEADS = {"own keys": (4, 4), "grouped": (4, 2), "one key head": (3, 1)}
SIGHT = {
    "causal": (True, None),
    "bidirectional": (False, None),
    "causal window": (True, 4),
    "two-sided window": (False, 3),
}


def layout(lengths: tuple[int, ...]) -> Layout:
    return Layout(torch.tensor([0, *lengths]).cumsum(0), lengths)


def inputs(rows: int, heads: tuple[int, int], prefix: int = TOKENS) -> list[torch.Tensor]:
    """Query, key, value, and a prefix's keys and values."""
    generator = torch.Generator().manual_seed(rows)
    shapes = [(1, count, rows, SIZE) for count in (heads[0], heads[1], heads[1])] + [(heads[1], prefix, SIZE)] * 2
    return [torch.randn(shape, generator=generator, dtype=torch.float64).mul_(2).requires_grad_() for shape in shapes]


def reference(
    tensors: list[torch.Tensor], lengths: tuple[int, ...], shape: Shape, cap: float | None = None
) -> torch.Tensor:
    """``[1, T, H, D]``: each query by itself over the whole prefix and what it sees of its segment."""
    query, key, value, first_key, first_value = tensors
    groups, rows, start = query.shape[1] // key.shape[1], [], 0
    for length in lengths:
        for i in range(start, start + length):
            near = [j for j in range(start, start + length) if shape.window is None or abs(i - j) < shape.window]
            seen = [j for j in near if j <= i or not shape.causal]
            for head in range(query.shape[1]):
                keys = torch.cat([first_key[head // groups], key[0, head // groups, seen]])
                values = torch.cat([first_value[head // groups], value[0, head // groups, seen]])
                scores = keys @ query[0, head, i] * shape.scaling
                rows.append(torch.softmax(cap * torch.tanh(scores / cap) if cap else scores, dim=0) @ values)
        start += length
    return torch.stack(rows).view(1, start, query.shape[1], -1)


def compare(ours: Any, wanted: Any, tensors: list[torch.Tensor], bound: float = 1e-12) -> None:
    """Value and the gradient of a weighted sum; 1e-12: some twenty float64 roundings of numbers of order 10."""
    found = []
    for function in (ours, wanted):
        out = function()
        weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
        found.append([out.detach(), *torch.autograd.grad((out * weights).sum(), tensors)])
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) < bound


def ours(tensors: list[torch.Tensor], lengths: tuple[int, ...], shape: Shape) -> torch.Tensor:
    return segment_attention(*tensors[:3], layout(lengths), shape, Prefix(*tensors[3:]))


CASES = list(itertools.product(LENGTHS, HEADS, SIGHT))


@pytest.mark.parametrize(("lengths", "heads", "sight"), CASES, ids=map("-".join, CASES))
def test_bucketed(lengths: str, heads: str, sight: str) -> None:
    shape, sizes = Shape(0.4, *SIGHT[sight]), LENGTHS[lengths]
    tensors = inputs(sum(sizes), HEADS[heads])
    compare(lambda: ours(tensors, sizes, shape), lambda: reference(tensors, sizes, shape), tensors)


@pytest.mark.parametrize("sight", SIGHT)
def test_segments_too_long_for_a_bucket(sight: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "LONG", 10)
    shape, sizes = Shape(0.4, *SIGHT[sight]), (21, 1, 6)
    tensors = inputs(sum(sizes), (4, 2))
    compare(lambda: ours(tensors, sizes, shape), lambda: reference(tensors, sizes, shape), tensors)


@pytest.mark.parametrize("sight", SIGHT)
def test_soft_capped_scores(sight: str) -> None:
    """To 1e-5: the softmax of this path is in float32 whatever the inputs are."""
    causal, window = SIGHT[sight]
    shape, sizes = Shape(0.4, causal, window, softcap=2.0), (13, 1, 6)
    tensors = inputs(sum(sizes), (4, 2))
    compare(lambda: ours(tensors, sizes, shape), lambda: reference(tensors, sizes, shape, 2.0), tensors, 1e-5)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("sight", ["causal", "causal window"])
def test_the_cache(sight: str, softcap: float | None) -> None:
    """Two rows of 5 and 3 tokens read, then one token a row: the last queries of rows of 6 and 4. In float64, with the
    softmax in float32."""
    window = SIGHT[sight][1]
    tensors = [tensor.detach() for tensor in inputs(10, (4, 2))]
    query, key, value = tensors[:3]
    options: dict[str, Any] = {"scaling": 0.4, "window": window, "softcap": softcap, "prefix": Prefix(*tensors[3:])}
    cache, device = Cache(rows=2), torch.device("cpu")
    past, last = [0, 1, 2, 3, 4, 6, 7, 8], [5, 9]
    prompts = cache.prefill([[0] * 5, [0] * 3], device).layout.cache
    read = prompts.attend(0, query[:, :, past], key[:, :, past], value[:, :, past], **options)  # type: ignore[union-attr]
    step = cache.decode([0, 0], device).layout.cache
    said = step.attend(0, query[:, :, last], key[:, :, last], value[:, :, last], **options)  # type: ignore[union-attr]
    wanted = reference(tensors, (6, 4), Shape(0.4, True, window), softcap)
    assert float((read - wanted[:, past]).abs().max()) < 1e-5
    assert float((said - wanted[:, last]).abs().max()) < 1e-5


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("padding", ["left", "right"])
def test_padded_rows(padding: str, softcap: float | None) -> None:
    """Rows of 6 and 4 tokens in one padded batch; to 1e-5 for the float32 softmax of soft-capped scores."""
    tensors, sizes = [tensor.detach() for tensor in inputs(10, (4, 2))], (6, 4)
    wanted = reference(tensors, sizes, Shape(0.4, True), softcap)
    module = torch.nn.Identity()
    module.key_value_prefix = Prefix(*tensors[3:])
    skip = 2 if padding == "left" else 0
    real = torch.ones(2, 6, dtype=torch.bool)
    real[1, 4 - 2 * skip : 6 - 2 * skip] = False
    batched = []
    for tensor in tensors[:3]:
        rows = torch.zeros(2, 6, tensor.shape[1], SIZE, dtype=torch.float64)
        rows[real] = tensor[0].transpose(0, 1).detach()
        batched.append(rows.transpose(1, 2))
    mask = torch.ones(6, 6, dtype=torch.bool).tril()[None, None] & real[:, None, None]
    out, _ = prefixed.attend(module, *batched, mask, scaling=0.4, softcap=softcap)
    assert float((out[real] - wanted[0]).abs().max()) < 1e-5


def test_no_segment_reaches_another() -> None:
    lengths = LENGTHS["very different"]
    tensors = inputs(sum(lengths), (4, 2))
    out = ours(tensors, lengths, Shape(0.4, causal=False))
    for index, own in enumerate(out.split(lengths, dim=1)):
        for gradient in torch.autograd.grad(own.square().sum(), tensors[:3], retain_graph=True):
            reached = [float(part.abs().max()) for part in gradient.split(lengths, dim=2)]
            assert all(reach == 0.0 for at, reach in enumerate(reached) if at != index)


def test_rows_put_in_front_of_segments() -> None:
    """Two new rows (a, b) before segments (0 1 2) and (3); rows 4 and 5 belong to none."""
    places = inserted((3, 1), 2, 6, "cpu")
    rows = torch.tensor([100, 101, 0, 1, 2, 3, 4, 5])
    assert rows[places.source].tolist() == [100, 101, 0, 1, 2, 100, 101, 3, 4, 5]
    assert rows[places.source][places.kept].tolist() == [0, 1, 2, 3, 4, 5]
    assert places.starts.tolist() == [0, 5, 8]
    assert places.lengths == (5, 3)
