"""Attention over a flat stream against a loop over queries, in float64: value and gradient of every path."""

from __future__ import annotations

import itertools

import pytest
import torch

from reference.attention import attention as reference
from tunesmith.contracts.batch import Layout
from tunesmith.models import attention
from tunesmith.models.attention import attend, no_mask, segment_attention
from tunesmith.models.segments import Shape

SIZE = 8
LENGTHS = {
    "one token": (1,),
    "tokens alone": (1, 1, 1),
    "equal": (5, 5, 5),
    "similar": (12, 11, 13, 10),
    "very different": (21, 1, 6, 2, 19),
}
HEADS = {"own keys": (4, 4), "grouped": (4, 2), "one key head": (3, 1)}
SIGHT = {
    "causal": (True, None),
    "bidirectional": (False, None),
    "causal window": (True, 4),
    "two-sided window": (False, 3),
    "window of one": (True, 1),
}


def layout(lengths: tuple[int, ...]) -> Layout:
    return Layout(torch.tensor([0, *lengths]).cumsum(0), lengths)


def inputs(lengths: tuple[int, ...], heads: tuple[int, int], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    shapes = [(1, count, sum(lengths), SIZE) for count in (heads[0], heads[1], heads[1])]
    # scores of size 3 make probabilities far from uniform
    return [
        (torch.randn(shape, generator=generator, dtype=torch.float64) * 2).to(dtype).requires_grad_()
        for shape in shapes
    ]


def value_and_gradient(function: object, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    out = function(*tensors)  # type: ignore[operator]
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), tensors)]


def both(lengths: tuple[int, ...], heads: tuple[int, int], shape: Shape) -> list[tuple[torch.Tensor, torch.Tensor]]:
    tensors = inputs(lengths, heads)
    ours = value_and_gradient(lambda q, k, v: segment_attention(q, k, v, layout(lengths), shape), tensors)
    options = {"scaling": shape.scaling, "causal": shape.causal, "window": shape.window, "softcap": shape.softcap}
    wanted = value_and_gradient(lambda q, k, v: reference(q, k, v, lengths, **options), tensors)  # type: ignore[arg-type]
    return list(zip(ours, wanted, strict=True))


def assert_close(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """To 1e-12: some twenty float64 roundings of numbers of order 10."""
    for name, (ours, wanted) in zip(("value", "query", "key", "value gradient"), pairs, strict=True):
        assert ours.shape == wanted.shape
        assert float((ours - wanted).detach().abs().max()) < 1e-12, name


CASES = list(itertools.product(LENGTHS, HEADS, SIGHT))


@pytest.mark.parametrize(("lengths", "heads", "sight"), CASES, ids=map("-".join, CASES))
def test_bucketed_attention(lengths: str, heads: str, sight: str) -> None:
    causal, window = SIGHT[sight]
    assert_close(both(LENGTHS[lengths], HEADS[heads], Shape(0.4, causal, window)))


@pytest.mark.parametrize("sight", SIGHT)
def test_segments_too_long_for_a_bucket(sight: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "LONG", 10)
    causal, window = SIGHT[sight]
    assert_close(both((21, 1, 6), (4, 2), Shape(0.4, causal, window)))


@pytest.mark.parametrize("sight", SIGHT)
def test_soft_capped_scores(sight: str) -> None:
    """To 1e-5: the softmax of this path is in float32 whatever the inputs are."""
    causal, window = SIGHT[sight]
    for ours, wanted in both((13, 1, 6), (4, 2), Shape(0.4, causal, window, softcap=2.0)):
        assert float((ours - wanted).abs().max()) < 1e-5


def test_dropout_keeps_or_doubles_each_weight() -> None:
    """With the identity for values, outputs are the attention weights themselves: each 0 or twice what it was."""
    length = 8  # the size of a head: values are the identity
    query, key, _ = inputs((length,), (16, 16))
    value = torch.eye(length, dtype=torch.float64).expand(1, 16, length, length)
    torch.manual_seed(0)
    dropped = segment_attention(query, key, value, layout((length,)), Shape(0.4, True, dropout=0.5))
    plain = reference(query, key, value, (length,), scaling=0.4, causal=True)
    kept = dropped != 0
    assert float((dropped[kept] - 2 * plain[kept]).detach().abs().max()) < 1e-6
    visible = plain > 0
    share = float(kept[visible].double().mean())
    assert abs(share - 0.5) < 5 * 0.5 / float(visible.sum()) ** 0.5, "five standard deviations of a fair coin"


@pytest.mark.parametrize("softcap", [None, 50.0], ids=["bucketed", "explicit"])
def test_dropout_s_gradient_is_that_of_the_function_it_computed(softcap: float | None) -> None:
    """Central differences in float64, with the generator set anew each time so that the same weights are dropped."""
    lengths = (7, 1, 5, 6)
    given = inputs(lengths, (4, 2))
    shape = Shape(0.4, False, softcap=softcap, dropout=0.3)

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        out = segment_attention(*tensors, layout(lengths), shape)
        return (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()

    grads = torch.autograd.grad(loss(*given), given)
    for tensor, grad in zip(given, grads, strict=True):
        generator = torch.Generator().manual_seed(1)
        step = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * 1e-5
        with torch.no_grad():
            other = [one + step if one is tensor else one for one in given]
            back = [one - step if one is tensor else one for one in given]
            slope = float(loss(*other) - loss(*back)) / 2
        # softmax of the explicit path is in float32
        assert slope == pytest.approx(float((grad * step).sum()), rel=1e-6 if softcap is None else 2e-2, abs=1e-10)


@pytest.mark.parametrize("sight", ["causal", "bidirectional", "causal window"])
def test_bfloat16_is_as_close_as_bfloat16_can_be(sight: str) -> None:
    """Relative error of value and gradients against float64 on the same rounded inputs, in the Euclidean norm: a few
    roundings of 2^-9 each; measured at most 0.006."""
    lengths, (causal, window) = (30, 28, 1, 9), SIGHT[sight]
    low = inputs(lengths, (4, 2), torch.bfloat16)
    ours = value_and_gradient(
        lambda q, k, v: segment_attention(q, k, v, layout(lengths), Shape(0.4, causal, window)), low
    )
    exact = [tensor.detach().double().requires_grad_() for tensor in low]
    options = {"scaling": 0.4, "causal": causal, "window": window}
    wanted = value_and_gradient(lambda q, k, v: reference(q, k, v, lengths, **options), exact)  # type: ignore[arg-type]
    for mine, other in zip(ours, wanted, strict=True):
        assert mine.dtype == torch.bfloat16
        assert float((mine.double() - other).norm() / other.norm()) < 0.012


def test_segments_do_not_reach_each_other() -> None:
    """The gradient of one segment's output with respect to another's inputs is exactly zero."""
    lengths = LENGTHS["very different"]
    tensors = inputs(lengths, (4, 2))
    out = segment_attention(*tensors, layout(lengths), Shape(0.4, causal=False))
    for index, own in enumerate(out.split(lengths, dim=1)):
        for gradient in torch.autograd.grad(own.square().sum(), tensors, retain_graph=True):
            reached = [float(part.abs().max()) for part in gradient.split(lengths, dim=2)]
            assert all(reach == 0.0 for at, reach in enumerate(reached) if at != index)
    assert all(float(gradient.abs().max()) > 0 for gradient in torch.autograd.grad(out.square().sum(), tensors))


def test_a_padding_mask_is_refused() -> None:
    with pytest.raises(RuntimeError, match="padding mask"):
        no_mask(attention_mask=torch.ones(1, 4))
    assert no_mask(attention_mask=None) is None


@pytest.mark.parametrize("feature", ["s_aux", "position_bias"])
def test_what_has_no_flat_form_is_refused(feature: str) -> None:
    tensors = inputs((3,), (2, 2))
    with pytest.raises(RuntimeError, match=feature):
        attend(torch.nn.Identity(), *tensors, None, layout=layout((3,)), **{feature: torch.zeros(1)})


def test_attention_without_a_layout_is_refused() -> None:
    with pytest.raises(RuntimeError, match="Identity did not hand the layout"):
        attend(torch.nn.Identity(), *inputs((3,), (2, 2)), None, is_causal=True)


@pytest.mark.parametrize(
    ("keyword", "attribute", "causal"), [(None, False, False), (True, False, True), (None, None, True)]
)
def test_causal_is_the_keyword_else_the_modules_word(
    keyword: bool | None, attribute: bool | None, causal: bool
) -> None:
    module = torch.nn.Identity()
    if attribute is not None:
        module.is_causal = attribute
    tensors = inputs((7,), (2, 2))
    out, _ = attend(module, *tensors, None, layout=layout((7,)), is_causal=keyword, scaling=0.3)
    wanted = reference(*tensors, (7,), scaling=0.3, causal=causal)
    assert float((out - wanted).detach().abs().max()) < 1e-12


@pytest.mark.parametrize("path", ["bucketed", "one by one", "soft-capped"])
def test_rows_beyond_the_last_segment_are_zero_and_reach_nothing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long streams are rounded up in length; what stands there belongs to no segment."""
    if path == "one by one":
        monkeypatch.setattr(attention, "LONG", 5)
    lengths, beyond = (9, 3), 4
    tensors = inputs((*lengths, beyond), (4, 2))
    shape = Shape(0.4, True, softcap=3.0 if path == "soft-capped" else None)
    ours = value_and_gradient(lambda *qkv: segment_attention(*qkv, layout(lengths), shape), tensors)
    own = [tensor.detach()[:, :, : sum(lengths)].requires_grad_() for tensor in tensors]
    wanted = segment_attention(*own, layout(lengths), shape)
    assert torch.equal(ours[0][:, : sum(lengths)], wanted)
    assert not ours[0][:, sum(lengths) :].any()
    assert not any(gradient[:, :, sum(lengths) :].any() for gradient in ours[1:])
    assert all(gradient[:, :, : sum(lengths)].any() for gradient in ours[1:])
