"""Choosing a token: filters and draws against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from tunesmith.errors import UserError
from tunesmith.generation.sampling import Sampling, chosen_logprobs, distribution, draw

P = torch.tensor([0.1, 0.4, 0.05, 0.25, 0.2])
LOGITS = P.log()[None]


def shown(sampling: Sampling) -> list[float]:
    return distribution(LOGITS, sampling)[0].tolist()


def test_temperature_raises_probabilities_to_a_power() -> None:
    power = P.double() ** 2 / (P.double() ** 2).sum()
    assert shown(Sampling(temperature=0.5)) == pytest.approx(power.tolist(), abs=1e-7)
    assert shown(Sampling(temperature=1)) == pytest.approx(P.tolist(), abs=1e-7)


def test_top_k_keeps_the_k_most_likely() -> None:
    assert shown(Sampling(temperature=1, top_k=2)) == pytest.approx([0, 0.4 / 0.65, 0, 0.25 / 0.65, 0], abs=1e-7)
    assert shown(Sampling(temperature=1, top_k=99)) == pytest.approx(P.tolist(), abs=1e-7)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.01, [1]), (0.39, [1]), (0.41, [1, 3]), (0.64, [1, 3]), (0.66, [1, 3, 4]), (0.96, [0, 1, 2, 3, 4])],
)
def test_top_p_keeps_the_fewest_that_reach_p(top_p: float, kept: list[int]) -> None:
    total = sum(P[token].item() for token in kept)
    wanted = [P[token].item() / total if token in kept else 0.0 for token in range(5)]
    assert shown(Sampling(temperature=1, top_p=top_p)) == pytest.approx(wanted, abs=1e-7)


def test_top_p_acts_on_what_top_k_left() -> None:
    # after top-k 2 the first has 0.615 of the mass, so top-p 0.6 keeps it alone
    assert shown(Sampling(temperature=1, top_k=2, top_p=0.6)) == pytest.approx([0, 1, 0, 0, 0])


def test_filters_equal_those_of_transformers() -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(64, 300, generator=torch.Generator().manual_seed(0)).double() * 3
    theirs = TemperatureLogitsWarper(0.7)(None, logits)
    theirs = TopPLogitsWarper(0.9)(None, TopKLogitsWarper(40)(None, theirs)).softmax(-1)
    ours = distribution(logits, Sampling(temperature=0.7, top_k=40, top_p=0.9))
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_the_draw_inverts_the_cumulative_distribution() -> None:
    # cumulative: 0.1, 0.5, 0.55, 0.8, 1
    uniforms = torch.tensor([0.0, 0.09, 0.11, 0.49, 0.52, 0.7, 0.81, 0.999999999], dtype=torch.float64)
    drawn = draw(LOGITS.expand(8, -1), uniforms, Sampling(temperature=1)).tokens
    assert drawn.tolist() == [0, 0, 1, 1, 2, 3, 4, 4]


def test_excluded_tokens_are_never_drawn() -> None:
    uniforms = torch.linspace(0, 1 - 2**-53, 1001, dtype=torch.float64)
    drawn = draw(LOGITS.expand(1001, -1), uniforms, Sampling(temperature=1, top_k=2)).tokens
    assert set(drawn.tolist()) == {1, 3}
    assert (drawn == 1).double().mean().item() == pytest.approx(0.4 / 0.65, abs=1e-3)


def test_greedy_and_the_models_own_logprob() -> None:
    assert draw(LOGITS, torch.zeros(1)).tokens.tolist() == [1]
    assert chosen_logprobs(LOGITS * 1 + 3, torch.tensor([4])).item() == pytest.approx(math.log(0.2), abs=1e-6)


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1}])
def test_values_out_of_range_are_told(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="out of range"):
        Sampling(**wrong)  # type: ignore[arg-type]
