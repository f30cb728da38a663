"""Everything a head can be asked besides log-probabilities, against plain autograd in float64, in chunks."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_head import BENDS, ROWS, VOCABULARY, WIDTH, Adapter, Watch, assert_close, linear, rows
from torch import nn

from families import tiny
from tunesmith.contracts.policy import Want
from tunesmith.data.collate import flatten
from tunesmith.models import head as heads
from tunesmith.models.head import Head
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.task_head import add_heads


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "CHUNK_ELEMENTS", 1)
    monkeypatch.setattr(heads, "LEAST_ROWS_READ", heads.LEAST_ROWS)


def given(dtype: torch.dtype = torch.float32) -> Any:
    """What a loss of the logits reads besides them: one distribution a row."""
    generator = torch.Generator().manual_seed(9)
    return SimpleNamespace(target=torch.rand(ROWS, VOCABULARY, generator=generator).softmax(-1).to(dtype))


def divergence(logits: torch.Tensor, rows: slice, batch: Any) -> torch.Tensor:
    """Two functions of a row's logits: a cross-entropy with its own target, and the largest log-probability."""
    log_p = logits.log_softmax(-1)
    return torch.stack([-(batch.target[rows] * log_p).sum(-1), log_p.amax(-1)], dim=-1)


def exact_logits(head: Head, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if head.transform is not None:
        hidden = torch.tanh(hidden)
    z = hidden @ weight.T if bias is None else hidden @ weight.T + bias
    z = z * head.scale
    return z if head.softcap is None else head.softcap * torch.tanh(z / head.softcap)


CASES = list(itertools.product(BENDS, ("frozen", "trained"), ("linear", "adapter"), (False, True)))


@pytest.mark.parametrize(("bend", "kind", "module", "transform"), CASES)
def test_every_want_at_once(bend: str, kind: str, module: str, transform: bool) -> None:
    layer = linear(bias=True, trained=kind == "trained")
    scale, softcap = BENDS[bend]
    head = Head(layer if module == "linear" else Adapter(layer), scale, softcap, nn.Tanh() if transform else None)
    hidden, labels = rows()
    mix = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(3))
    want = Want(logprob=True, hit=True, entropy=True, token_fn=divergence)
    ours = head.read(hidden, labels, torch.ones(ROWS), want, batch=given())
    assert ours.logprob is not None
    assert ours.values is not None
    assert ours.entropy is not None
    assert not ours.entropy.requires_grad
    (torch.cat([ours.logprob[:, None], ours.values], dim=1) * mix).sum().backward()

    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, layer.weight, layer.bias)]
    logits = exact_logits(head, *exact)
    log_p = logits.log_softmax(-1)
    logprob = log_p[torch.arange(ROWS), labels]
    values = divergence(logits, slice(None), given(torch.float64))
    (torch.cat([logprob[:, None], values], dim=1) * mix.double()).sum().backward()
    assert_close(ours.logprob.detach(), logprob.detach())
    assert_close(ours.values.detach(), values.detach())
    assert_close(ours.entropy, -(log_p.exp() * log_p).sum(-1).detach())
    assert ours.hit is not None
    assert torch.equal(ours.hit, logits.argmax(-1) == labels)
    assert_close(hidden.grad, exact[0].grad)  # type: ignore[arg-type]
    if kind == "trained":
        assert_close(layer.weight.grad, exact[1].grad)  # type: ignore[arg-type]
        assert_close(layer.bias.grad, exact[2].grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("bend", BENDS)
def test_entropy_comes_with_the_one_pass(bend: str) -> None:
    """The same products as without it, and the log-probabilities' gradient is what it was."""
    scale, softcap = BENDS[bend]
    layer, (hidden, labels) = linear(bias=False, trained=True), rows()
    head = Head(layer, scale, softcap)
    seen = []
    for entropy in (False, True):
        hidden.grad = layer.weight.grad = None
        with Watch() as watch:
            ours = head.read(hidden, labels, torch.ones(ROWS), Want(entropy=entropy))
            assert ours.logprob is not None
            ours.logprob.sum().backward()
        assert len(watch.products) == 9
        assert watch.largest <= 256 * VOCABULARY
        seen.append((hidden.grad, layer.weight.grad))
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])
    log_p = exact_logits(head, hidden.detach().double(), layer.weight.detach().double(), None).log_softmax(-1)
    assert ours.entropy is not None
    assert_close(ours.entropy, -(log_p.exp() * log_p).sum(-1))


def test_entropy_alone_learns_nothing() -> None:
    layer, (hidden, labels) = linear(bias=False, trained=True), rows()
    with Watch() as watch:
        ours = Head(layer).read(hidden, labels, torch.ones(ROWS), Want(logprob=False, entropy=True))
    assert ours.logprob is None
    assert ours.entropy is not None
    assert len(watch.products) == 3


def test_a_masked_word_adds_no_entropy() -> None:
    """Uniform over 49 of 50 words, the last at minus infinity: log 49."""
    layer = nn.Linear(WIDTH, VOCABULARY)
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.zero_()
        layer.bias[-1] = -torch.inf
    ours = Head(layer).read(torch.ones(3, WIDTH), torch.zeros(3, dtype=torch.int64), torch.ones(3), Want(entropy=True))
    assert ours.entropy is not None
    assert torch.allclose(ours.entropy, torch.tensor(49.0).log().expand(3), atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 256, 257])
def test_a_function_of_the_logits_sees_every_row_once(count: int) -> None:
    seen: list[slice] = []

    def watch(logits: torch.Tensor, rows: slice, batch: Any) -> torch.Tensor:
        seen.append(rows)
        return logits[:, :1]

    hidden, labels = rows(count=count)
    with torch.no_grad():
        want = Want(logprob=False, token_fn=watch)
        ours = Head(linear(bias=True, trained=False)).read(hidden, labels, torch.ones(count), want, batch=given())
    assert ours.values is not None
    assert ours.values.shape == (count, 1)
    assert [place for part in seen for place in range(part.start, part.stop)] == list(range(count))


def test_no_function_of_the_logits_holds_them_all() -> None:
    layer, (hidden, labels) = linear(bias=False, trained=True), rows()
    batch = given()
    with Watch() as watch:
        values = Head(layer).read(hidden, labels, torch.ones(ROWS), Want(token_fn=divergence), batch=batch).values
        assert values is not None
        values.sum().backward()
    assert watch.largest <= 256 * VOCABULARY < ROWS * VOCABULARY


def policy_and_batch() -> tuple[CausalPolicy, Any]:
    import numpy as np

    from tunesmith.contracts.batch import Example

    torch.manual_seed(0)
    policy = CausalPolicy(tiny("llama"))
    ids = np.arange(3, 15, dtype=np.int32)
    examples = [Example(ids[:length], np.ones(length, dtype=bool), row=length) for length in (12, 5)]
    return policy, flatten(examples)


def test_hidden_states_and_a_closure_to_their_logits() -> None:
    policy, batch = policy_and_batch()
    out = policy(batch, Want(logprob=True, hidden=True))
    assert out.hidden is not None
    assert out.logits is not None
    assert out.hidden.requires_grad
    logits = out.logits(out.hidden)
    picked = logits.log_softmax(-1)[torch.arange(len(logits)), batch.readout.labels]
    assert torch.allclose(picked, out.logprob, atol=1e-5)


def test_a_value_head_is_read_beside_the_vocabulary_and_learns() -> None:
    """A new head is zero; its gradient is the sum of hidden rows, and once it is not zero the body learns too."""
    policy, batch = policy_and_batch()
    assert add_heads(policy.model, {"value": 1}) == ["value_head"]
    out = policy(batch, Want(logprob=True, entropy=True, hidden=True, value=True))
    assert out.value is not None
    assert out.hidden is not None
    assert out.entropy is not None
    assert out.value.shape == out.logprob.shape == out.entropy.shape == (15,)
    assert torch.equal(out.value, torch.zeros(15))
    out.value.sum().backward()
    head = policy.model.value_head
    assert torch.allclose(head.weight.grad[0], out.hidden.detach().sum(0), atol=1e-4)
    assert float(head.bias.grad) == 15.0
    with torch.no_grad():
        head.weight.fill_(0.1)
    again = policy(batch, Want(logprob=False, value=True))
    assert torch.allclose(again.value, out.hidden.detach().sum(-1) * 0.1, atol=1e-5)
    policy.zero_grad()
    again.value.sum().backward()
    assert float(next(policy.model.parameters()).grad.abs().max()) > 0


def test_a_value_head_in_half_precision_gives_float32() -> None:
    policy, batch = policy_and_batch()
    add_heads(policy.model, {"value": 1})
    policy.to(torch.bfloat16)
    out = policy(batch, Want(logprob=False, value=True))
    assert out.value is not None
    assert out.value.dtype == torch.float32
