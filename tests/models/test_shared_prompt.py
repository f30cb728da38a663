"""Attention of answers that share a beginning against a loop over queries, in float64: value and every gradient."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tunesmith.contracts.batch import Layout, Prefix
from tunesmith.models import attention, bucketed
from tunesmith.models.attention import attend, segment_attention
from tunesmith.models.segments import Shape, buckets, inserted, seen, visible, whole

SIZE = 8
Plan = tuple[tuple[int, ...], tuple[int, ...]]
"""Lengths of segments, and their parents."""
PLANS: dict[str, Plan] = {
    "a pair": ((5, 4, 3), (-1, 0, 0)),
    "one answer of one token": ((1, 1), (-1, 0)),
    "pairs": ((30, 13, 12, 9, 14, 3, 17, 13, 12), (-1, 0, 0, -1, 3, 3, -1, 6, 6)),
    "a group": ((7, 2, 5, 2, 3, 2, 2, 18, 2), (-1, 0, 0, 0, 0, 0, 0, 0, 0)),
    "beside sequences without": ((6, 21, 6, 19, 1, 2, 1, 13), (-1, -1, 1, 1, -1, 4, 4, -1)),
}
HEADS = {"own keys": (4, 4), "grouped": (4, 2), "one key head": (3, 1)}
SIGHT = {"all": None, "window": 4, "window of one": 1}


def layout(plan: Plan) -> Layout:
    return Layout(torch.tensor([0, *plan[0]]).cumsum(0), plan[0], parents=plan[1])


def inputs(rows: int, heads: tuple[int, int] = (4, 2), prefix: int = 0) -> list[torch.Tensor]:
    """Query, key, value, and a prefix's keys and values where there is one."""
    generator = torch.Generator().manual_seed(rows)
    shapes = [(1, count, rows, SIZE) for count in (heads[0], heads[1], heads[1])]
    shapes += [(heads[1], prefix, SIZE)] * 2 if prefix else []
    # scores of size 3 make probabilities far from uniform
    return [torch.randn(shape, generator=generator, dtype=torch.float64).mul_(2).requires_grad_() for shape in shapes]


def reference(tensors: list[torch.Tensor], plan: Plan, shape: Shape) -> torch.Tensor:
    """``[1, T, H, D]``: each query by itself over the prefix and the tokens of its sequence up to its own."""
    query, key, value, *prefix = tensors
    groups, cap, starts, out = query.shape[1] // key.shape[1], shape.softcap, [0], []
    for length in plan[0]:
        starts.append(starts[-1] + length)
    for segment, parent in enumerate(plan[1]):
        before = list(range(starts[parent], starts[parent + 1])) if parent >= 0 else []
        for row in range(starts[segment], starts[segment + 1]):
            sequence = [*before, *range(starts[segment], row + 1)][-(shape.window or 10**9) :]
            for head in range(query.shape[1]):
                keys, values = key[0, head // groups, sequence], value[0, head // groups, sequence]
                if prefix:
                    keys = torch.cat([prefix[0][head // groups], keys])
                    values = torch.cat([prefix[1][head // groups], values])
                scores = keys @ query[0, head, row] * shape.scaling
                out.append(torch.softmax(cap * torch.tanh(scores / cap) if cap else scores, dim=0) @ values)
    return torch.stack(out).view(1, starts[-1], query.shape[1], -1)


def ours(tensors: list[torch.Tensor], plan: Plan, shape: Shape) -> torch.Tensor:
    return segment_attention(*tensors[:3], layout(plan), shape, Prefix(*tensors[3:]) if tensors[3:] else None)


def value_and_gradients(out: torch.Tensor, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), tensors)]


def compare(tensors: list[torch.Tensor], plan: Plan, shape: Shape, bound: float = 1e-12) -> None:
    """1e-12: some twenty float64 roundings of numbers of order 10."""
    found = value_and_gradients(ours(tensors, plan, shape), tensors)
    wanted = value_and_gradients(reference(tensors, plan, shape), tensors)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) < bound


CASES = list(itertools.product(PLANS, HEADS, SIGHT))


@pytest.mark.parametrize(("plan", "heads", "sight"), CASES, ids=map("-".join, CASES))
def test_bucketed(plan: str, heads: str, sight: str) -> None:
    compare(inputs(sum(PLANS[plan][0]), HEADS[heads]), PLANS[plan], Shape(0.4, True, SIGHT[sight]))


@pytest.mark.parametrize("path", ["bucketed", "one by one", "soft-capped"])
@pytest.mark.parametrize("prefix", [0, 3])
@pytest.mark.parametrize("sight", SIGHT)
def test_every_path_with_and_without_a_prefix(
    path: str, prefix: int, sight: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soft-capped scores to 1e-5: their softmax is in float32 whatever the inputs are."""
    if path == "one by one":
        monkeypatch.setattr(attention, "LONG", 5)
        monkeypatch.setattr(attention, "bucketed_attention", None)
    plan, capped = PLANS["beside sequences without"], path == "soft-capped"
    shape = Shape(0.4, True, SIGHT[sight], softcap=2.0 if capped else None)
    compare(inputs(sum(plan[0]), prefix=prefix), plan, shape, 1e-5 if capped else 1e-12)


def test_a_parent_counts_for_what_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "bucketed_attention", None)
    plan = ((600, 500), (-1, 0))
    tensors = [torch.zeros(1, 1, 1100, SIZE)] * 3
    assert ours(tensors, plan, Shape(0.4, True)).shape == (1, 1100, 1, SIZE)
    with pytest.raises(TypeError):
        ours(tensors, (plan[0], (-1, -1)), Shape(0.4, True))


def test_an_answer_is_the_end_of_its_sequence() -> None:
    """To 1e-13: the same numbers in matrix products of another shape."""
    plan = PLANS["pairs"]
    tensors = [tensor.detach() for tensor in inputs(sum(plan[0]))]
    shared = ours(tensors, plan, Shape(0.4, True))
    sequences = whole(*plan, "cpu")
    repeated = [tensor[:, :, sequences.source] for tensor in tensors]
    alone = segment_attention(*repeated, Layout(sequences.starts, sequences.lengths), Shape(0.4, True))
    assert float((alone[:, sequences.back] - shared).abs().max()) < 1e-13


@pytest.mark.parametrize("sight", SIGHT)
def test_answers_do_not_reach_each_other(sight: str) -> None:
    """The gradient of a segment's output is exactly zero but for itself and its parent."""
    lengths, parents = plan = PLANS["beside sequences without"]
    tensors = inputs(sum(lengths))
    out = ours(tensors, plan, Shape(0.4, True, SIGHT[sight]))
    for index, own in enumerate(out.split(lengths, dim=1)):
        for name, gradient in zip(
            "qkv", torch.autograd.grad(own.square().sum(), tensors, retain_graph=True), strict=True
        ):
            reached = {at for at, part in enumerate(gradient.split(lengths, dim=2)) if part.any()}
            far = {parents[index]} - {-1} if name != "q" and sight != "window of one" else set()
            # one token that sees itself alone has a constant weight of one, and so no gradient of its scores
            assert reached <= {index} | far
            assert name != "v" or reached == {index} | far


def test_rows_beyond_the_last_segment_are_zero_and_reach_nothing() -> None:
    plan, beyond = PLANS["pairs"], 4
    tensors = inputs(sum(plan[0]) + beyond)
    found = value_and_gradients(ours(tensors, plan, Shape(0.4, True)), tensors)
    own = [tensor.detach()[:, :, :-beyond].requires_grad_() for tensor in tensors]
    assert torch.equal(found[0][:, :-beyond], ours(own, plan, Shape(0.4, True)))
    assert not found[0][:, -beyond:].any()
    assert not any(gradient[:, :, -beyond:].any() for gradient in found[1:])


@pytest.mark.parametrize("softcap", [None, 50.0], ids=["bucketed", "explicit"])
def test_dropout_s_gradient_is_that_of_the_function_it_computed(softcap: float | None) -> None:
    """Central differences in float64, with the generator set anew each time so that the same weights are dropped.

    The explicit path's softmax is in float32, so its steps are larger and its slope is cruder."""
    plan = PLANS["a pair"]
    size, bound = (1e-5, 1e-6) if softcap is None else (1e-3, 2e-3)
    given = inputs(sum(plan[0]))
    shape = Shape(0.4, True, softcap=softcap, dropout=0.3)

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        out = ours(list(tensors), plan, shape)
        return (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()

    assert float(loss(*given).detach()) != pytest.approx(float(loss_without(given, plan).detach()), rel=1e-3)
    grads = torch.autograd.grad(loss(*given), given)
    for tensor, grad in zip(given, grads, strict=True):
        step = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1), dtype=tensor.dtype) * size
        with torch.no_grad():
            slope = _slope(loss, given, tensor, step)
        assert slope == pytest.approx(float((grad * step).sum()), rel=bound, abs=1e-10)


def loss_without(tensors: list[torch.Tensor], plan: Plan) -> torch.Tensor:
    out = ours(tensors, plan, Shape(0.4, True))
    return (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()


def _slope(loss: Callable[..., Any], given: list[torch.Tensor], tensor: torch.Tensor, step: torch.Tensor) -> float:
    there, back = ([one + sign * step if one is tensor else one for one in given] for sign in (1, -1))
    return float(loss(*there) - loss(*back)) / 2


def test_bfloat16_is_as_close_as_bfloat16_can_be() -> None:
    """Relative error against float64 on the same rounded inputs, in the Euclidean norm: a few roundings of 2^-9 each,
    and one more for each of the eight answers that add to a parent's gradient; measured at most 0.007."""
    plan = PLANS["a group"]
    low = [tensor.detach().bfloat16().requires_grad_() for tensor in inputs(sum(plan[0]))]
    exact = [tensor.detach().double().requires_grad_() for tensor in low]
    found = value_and_gradients(ours(low, plan, Shape(0.4, True)), low)
    wanted = value_and_gradients(reference(exact, plan, Shape(0.4, True)), exact)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.bfloat16
        assert float((one.double() - other).norm() / other.norm()) < 0.014


def test_bidirectional_attention_refuses_shared_beginnings() -> None:
    with pytest.raises(RuntimeError, match="Identity is bidirectional"):
        attend(torch.nn.Identity(), *inputs(12), None, layout=layout(PLANS["a pair"]), is_causal=False)


def test_few_products_for_many_pairs() -> None:
    """Pairs of one shape: one bucket for the beginnings and one for the answers, which see a multiple of 32 keys."""
    plan = buckets((60, 50, 60) * 4, (-1, 0, 0, -1, 3, 3, -1, 6, 6, -1, 9, 9), "cpu")
    assert [(bucket.size, bucket.length) for bucket in plan] == [(4, 64), (8, 64)]
    assert plan[0].before is None
    assert plan[1].before is not None
    assert plan[1].before.length == 64
    assert {(one.length + one.before.length) % 32 for one in buckets((70, 41, 1), (-1, 0, 0), "cpu") if one.before} == {
        0
    }


def test_layouts_that_differ_in_parents_alone_are_told_apart() -> None:
    lengths = (4, 3, 3)
    tensors = [tensor.detach() for tensor in inputs(10)]
    outs = [ours(tensors, (lengths, parents), Shape(0.4, True)) for parents in ((-1, 0, 0), (-1, -1, -1), (-1, 0, -1))]
    assert not torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])
    assert not torch.equal(outs[1], outs[2])


def test_what_is_visible_behind_a_parent() -> None:
    """Two rows behind two of a parent and one of a prefix; a window of two reaches one back."""
    rows = visible(2, causal=True, window=2, device="cpu", parent=2, prefix=1)
    assert rows.int().tolist() == [[1, 0, 1, 1, 0], [1, 0, 0, 1, 1]]


def test_rows_put_in_front_of_sequences() -> None:
    """Two new rows (a, b) before (0 1) and (4), not before the answers (2) and (3); row 5 belongs to none."""
    places = inserted((2, 1, 1, 1), 2, 6, "cpu", parents=(-1, 0, 0, -1))
    rows = torch.tensor([100, 101, 0, 1, 2, 3, 4, 5])
    assert rows[places.source].tolist() == [100, 101, 0, 1, 2, 3, 100, 101, 4, 5]
    assert rows[places.source][places.kept].tolist() == [0, 1, 2, 3, 4, 5]
    assert places.starts.tolist() == [0, 4, 5, 6, 9]
    assert places.lengths == (4, 1, 1, 3)


def test_whole_sequences() -> None:
    """A beginning (0 1) with answers (2) and (3 4), and a sequence (5) without."""
    sequences = whole((2, 1, 2, 1), (-1, 0, 0, -1), "cpu")
    assert sequences.source.tolist() == [0, 1, 2, 0, 1, 3, 4, 5]
    assert sequences.back.tolist() == [0, 1, 2, 5, 6, 7]
    assert sequences.starts.tolist() == [0, 3, 7, 8]
    assert sequences.lengths == (3, 4, 1)


def test_keys_that_each_segment_sees() -> None:
    keys = seen((2, 1, 1), (-1, 0, -1), 1, "cpu")
    assert keys.source is not None
    assert keys.source.tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 4]
    assert keys.starts.tolist() == [0, 3, 7, 9]
    assert keys.longest == 4
    assert seen((2, 1), None, 0, "cpu").source is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("window", [None, 4])
def test_the_kernel_on_a_gpu(window: int | None) -> None:
    """bfloat16 on the device against float32 on the CPU: a few roundings of 2^-9."""
    plan, shape = PLANS["pairs"], Shape(0.4, True, window)
    own = [tensor.detach().float().requires_grad_() for tensor in inputs(sum(plan[0]))]
    there = [tensor.detach().bfloat16().cuda().requires_grad_() for tensor in own]
    at = layout(plan)
    moved = Layout(at.starts.cuda(), at.lengths, parents=at.parents)
    found = value_and_gradients(segment_attention(*there, moved, shape), there)
    wanted = value_and_gradients(ours(own, plan, shape), own)
    for one, other in zip(found, wanted, strict=True):
        assert float((one.float().cpu() - other).norm() / other.norm()) < 0.02


def test_attention_without_parents_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bitwise: no parents, and a tuple that names none."""
    lengths = (12, 5, 3)
    tensors = inputs(20)
    plain = segment_attention(*tensors, Layout(torch.tensor([0, 12, 17, 20]), lengths), Shape(0.4, True))
    assert torch.equal(ours(tensors, (lengths, (-1, -1, -1)), Shape(0.4, True)), plain)
    monkeypatch.setattr(bucketed, "_bias", lambda *_: torch.zeros(()))
    assert not torch.equal(ours(tensors, (lengths, (-1, -1, -1)), Shape(0.4, True)), plain)
