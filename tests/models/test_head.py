"""The head's log-probabilities and gradients against float64, in chunks, without ever holding ``[N, V]``."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from reference.logprob import logprob as reference
from tunesmith.contracts.policy import Want
from tunesmith.models import head as heads
from tunesmith.models.head import Head

ROWS, WIDTH, VOCABULARY = 600, 12, 50
"""Three chunks of at most 256 rows."""
CLOSE = 1e-5
"""float32 against float64, relative to the largest entry: sums of up to 600 terms; measured at most 2e-6."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "CHUNK_ELEMENTS", 1)
    monkeypatch.setattr(heads, "LEAST_ROWS_READ", heads.LEAST_ROWS)


class Adapter(nn.Module):
    """Any head that is not a plain linear layer."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self.weight = linear.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


def linear(*, bias: bool, trained: bool) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(WIDTH, VOCABULARY, bias=bias).requires_grad_(trained)


def rows(seed: int = 0, count: int = ROWS) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, WIDTH, generator=generator).mul(3).requires_grad_()
    return hidden, torch.randint(0, VOCABULARY, (count,), generator=generator)


def coefficients(kind: str, share: torch.Tensor) -> torch.Tensor:
    """What comes in from above: proportional to the readout weights (one pass is enough), or not."""
    generator = torch.Generator().manual_seed(5)
    return {"proportional": -0.37 * share, "other": torch.randn(len(share), generator=generator)}[kind]


def shares(kind: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    uneven = torch.rand(ROWS, generator=generator)
    uneven[::7] = 0.0
    return torch.ones(ROWS) if kind == "even" else uneven


def assert_close(ours: torch.Tensor | None, wanted: torch.Tensor) -> None:
    assert ours is not None
    assert float((ours.double() - wanted).abs().max() / wanted.abs().max()) < CLOSE


BENDS = {"plain": (1.0, None), "scaled": (0.25, None), "capped": (1.0, 3.0), "both": (1.7, 4.0)}
CASES = list(
    itertools.product(BENDS, (True, False), ("frozen", "trained"), ("even", "uneven"), ("proportional", "other"))
)


@pytest.mark.parametrize(("bend", "bias", "kind", "share", "incoming"), CASES)
@pytest.mark.parametrize("module", ["linear", "adapter"])
def test_value_and_gradient(module: str, bend: str, bias: bool, kind: str, share: str, incoming: str) -> None:
    scale, softcap = BENDS[bend]
    layer = linear(bias=bias, trained=kind == "trained")
    hidden, labels = rows()
    weights = shares(share)
    head = Head(layer if module == "linear" else Adapter(layer), scale, softcap)
    ours = head.read(hidden, labels, weights, Want()).logprob
    assert ours is not None
    assert ours.dtype == torch.float32
    (ours * coefficients(incoming, weights)).sum().backward()

    exact = [None if t is None else t.detach().double().requires_grad_() for t in (hidden, layer.weight, layer.bias)]
    wanted = reference(*exact, labels, scale=scale, softcap=softcap)  # type: ignore[arg-type]
    (wanted * coefficients(incoming, weights).double()).sum().backward()
    assert_close(ours.detach(), wanted.detach())
    assert_close(hidden.grad, exact[0].grad)  # type: ignore[union-attr,arg-type]
    if kind == "trained":
        assert_close(layer.weight.grad, exact[1].grad)  # type: ignore[union-attr,arg-type]
        if bias:
            assert_close(layer.bias.grad, exact[2].grad)  # type: ignore[union-attr,arg-type]
    else:
        assert layer.weight.grad is None


@pytest.mark.parametrize("count", [0, 1, 256, 257])
def test_borders_of_chunks(count: int) -> None:
    layer = linear(bias=True, trained=True)
    hidden, labels = rows(count=count)
    ours = Head(layer).read(hidden, labels, torch.ones(count), Want(hit=True))
    assert ours.logprob is not None
    assert ours.hit is not None
    assert ours.logprob.shape == ours.hit.shape == (count,)
    ours.logprob.sum().backward()
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, layer.weight, layer.bias)]
    reference(*exact, labels).sum().backward()
    for mine, other in zip((hidden, layer.weight, layer.bias), exact, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert float((mine.grad - other.grad).abs().max() if mine.numel() else 0.0) < 1e-4


class Watch(TorchDispatchMode):
    """Counts the elements of the largest tensor any operation makes, and the matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.products: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
                if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
                    self.products.append(tuple(tensor.shape))
        return out


@pytest.mark.parametrize("incoming", ["proportional", "other"])
@pytest.mark.parametrize("module", ["linear", "adapter"])
def test_logits_of_all_rows_never_exist(module: str, incoming: str) -> None:
    layer = linear(bias=False, trained=True)
    head = Head(layer if module == "linear" else Adapter(layer), softcap=3.0)
    hidden, labels = rows()
    with Watch() as watch:
        logprob = head.read(hidden, labels, torch.ones(ROWS), Want(hit=True)).logprob
        assert logprob is not None
        (logprob * coefficients(incoming, torch.ones(ROWS))).sum().backward()
    assert watch.largest <= 256 * VOCABULARY < ROWS * VOCABULARY


def test_a_summed_loss_takes_one_pass() -> None:
    """Three products a chunk (logits, two gradients); backward adds none where the readout weights are known."""
    layer = linear(bias=False, trained=True)
    hidden, labels = rows()
    with Watch() as watch:
        logprob = Head(layer).read(hidden, labels, torch.ones(ROWS), Want()).logprob
        assert logprob is not None
        forward = len(watch.products)
        logprob.sum().backward()
    assert forward == len(watch.products) == 9
    assert hidden.grad is not None


def test_nothing_but_logits_is_computed_without_gradients() -> None:
    layer = linear(bias=False, trained=True)
    hidden, labels = rows()
    with Watch() as watch, torch.no_grad():
        Head(layer).read(hidden, labels, torch.ones(ROWS), Want())
    assert len(watch.products) == 3


@pytest.mark.parametrize("trained", [True, False])
def test_bfloat16(trained: bool) -> None:
    """Relative to float64 on the same rounded inputs, in the Euclidean norm: roundings of 2^-9; measured 0.005."""
    layer = linear(bias=False, trained=trained).to(torch.bfloat16)
    hidden, labels = rows()
    low = hidden.detach().to(torch.bfloat16).requires_grad_()
    logprob = Head(layer).read(low, labels, torch.ones(ROWS), Want()).logprob
    assert logprob is not None
    assert logprob.dtype == torch.float32
    (-logprob.sum() / ROWS).backward()
    exact = [tensor.detach().double().requires_grad_() for tensor in (low, layer.weight)]
    wanted = reference(exact[0], exact[1], None, labels)
    (-wanted.sum() / ROWS).backward()
    pairs = [(logprob.detach(), wanted.detach()), (low.grad, exact[0].grad)]
    pairs += [(layer.weight.grad, exact[1].grad)] if trained else []
    for ours, other in pairs:
        assert ours is not None
        assert other is not None
        assert float((ours.double() - other).norm() / other.norm()) < 0.01
