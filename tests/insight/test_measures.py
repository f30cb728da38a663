"""The measures behind the looks against closed forms and slow definitions."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tunesmith.insight.activations import cka
from tunesmith.insight.attention import divergence
from tunesmith.insight.importance import module_of
from tunesmith.insight.influence import cosine
from tunesmith.insight.subject import Subject, places
from tunesmith.insight.weights import compare, effective_rank


def orthogonal(size: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(seed)).double()).Q


def test_effective_rank_of_equal_and_of_single_values() -> None:
    assert effective_rank(torch.ones(7)) == pytest.approx(7.0)
    assert effective_rank(torch.tensor([3.0, 0.0, 0.0])) == pytest.approx(1.0)
    values = torch.tensor([2.0, 1.0, 1.0])
    assert effective_rank(values) == pytest.approx(2 ** (0.5 * 1 + 0.25 * 2 + 0.25 * 2))


def test_a_low_rank_change_is_measured_and_its_new_direction_found() -> None:
    left, right = orthogonal(24, 0), orthogonal(24, 1)
    strong = torch.cat([torch.linspace(10, 6, 12), torch.linspace(0.02, 0.01, 12)])
    base = left @ torch.diag(strong.double()) @ right.T
    new = left[:, -5:].sum(1, keepdim=True)  # spread over five weak directions
    change = 20 * (new / new.norm()) @ right[:, -1:].T
    found = compare(base, base + change)
    assert found["change"] == pytest.approx(20 / float(base.norm()), rel=1e-5)
    assert found["effective_rank"] == pytest.approx(1.0, abs=1e-3)
    assert found["stable_rank"] == pytest.approx(1.0, abs=1e-5)
    assert found["intruders"] == 1
    assert found["cosines"][0] == pytest.approx(1 / math.sqrt(5), abs=0.01)
    assert found["spectrum"][0] == pytest.approx(20.0, rel=1e-5)


def test_a_change_along_what_was_there_is_no_intruder() -> None:
    base = torch.randn(16, 12, generator=torch.Generator().manual_seed(3))
    assert compare(base, base * 1.5)["intruders"] == 0
    assert compare(base, base * 1.5)["change"] == pytest.approx(0.5, rel=1e-5)
    assert compare(base, base) == {
        "change": 0.0, "effective_rank": 0.0, "stable_rank": 0.0, "intruders": 0, "cosines": [], "spectrum": []
    }  # fmt: skip


def test_cka_does_not_see_rotation_and_scale_and_sees_independence() -> None:
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(500, 6, generator=drawn)
    assert cka(x, 3.0 * x @ orthogonal(6, 5).float() + 2.0) == pytest.approx(1.0, abs=1e-6)
    assert cka(x, torch.randn(500, 6, generator=drawn)) < 0.05
    one, other = x.double() - x.double().mean(0), (x[:, :3] * torch.tensor([1.0, 2.0, 3.0])).double()
    other = other - other.mean(0)
    k, m = one @ one.T, other @ other.T  # the definition by kernels
    wanted = float((k * m).sum() / ((k * k).sum().sqrt() * (m * m).sum().sqrt()))
    assert cka(x, x[:, :3] * torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(wanted, rel=1e-9)


def test_divergence_in_bits() -> None:
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert float(divergence(one, other)) == pytest.approx(1.0)
    assert float(divergence(one, one)) == 0.0
    half = torch.tensor([0.5, 0.5])
    wanted = 0.5 * math.log2(1 / 0.75) + 0.5 * (0.5 * math.log2(0.5 / 0.75) + 0.5 * math.log2(0.5 / 0.25))
    assert float(divergence(one, half)) == pytest.approx(wanted)


def test_cosine_over_several_parameters_with_gaps() -> None:
    one = (torch.tensor([3.0, 0.0]), torch.tensor([4.0]), None)
    other = (torch.tensor([1.0, 0.0]), None, torch.tensor([1.0]))
    assert cosine(one, other) == pytest.approx(3 / (5 * math.sqrt(2)))
    assert cosine(one, (None, None, None)) == 0.0


@pytest.mark.parametrize(
    ("pieces", "wanted"), [(["▁the", "▁cat"], [" the", " cat"]), (["in", "▁g"], ["in", " g"]), (["<s>"], ["<s>"])]
)
def test_a_token_keeps_the_blank_that_decoding_it_alone_would_lose(pieces: list[str], wanted: list[str]) -> None:
    decode = lambda ids: "".join(pieces[one] for one in ids).replace("▁", " ").removeprefix(" ")  # noqa: E731
    subject: Any = SimpleNamespace(decode=decode)
    assert [Subject.token(subject, number) for number in range(len(pieces))] == wanted


def test_kinds_of_layers_are_told_apart_within_their_block() -> None:
    blocks = ["h.0", "h.1"]
    paths = [f"h.{at}.{one}" for at in (0, 1) for one in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")]
    found = places([*paths, "score"], blocks)
    assert [found[path] for path in paths[:4]] == [(0, "c_attn"), (0, "attn.c_proj"), (0, "c_fc"), (0, "mlp.c_proj")]
    assert (found["h.1.mlp.c_proj"], found["score"]) == ((1, "mlp.c_proj"), (-1, "score"))
    llama = places(["b.0.self_attn.q_proj", "b.0.self_attn.k_proj"], ["b.0"])
    assert [kind for _, kind in llama.values()] == ["q_proj", "k_proj"]
    bert = ["l.0.attention.output.dense", "l.0.output.dense", "l.0.intermediate.dense"]
    kinds = [kind for _, kind in places(bert, ["l.0"]).values()]
    assert kinds == ["attention.output.dense", "output.dense", "intermediate.dense"]


def test_the_module_of_a_stored_parameter() -> None:
    assert module_of("base_model.model.model.layers.0.q_proj.lora_A.weight") == "model.layers.0.q_proj"
    assert module_of("model.layers.1.mlp.up_proj.weight") == "model.layers.1.mlp.up_proj"
    assert module_of("model.norm.weight") == "model.norm"
