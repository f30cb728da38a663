"""GRPO's variants as whole losses: against a slow reference, their presets, their signals, and what is refused."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from objectives.rollout_batches import LENGTHS, examples, flat, lengths, loss_of
from reference.policy_gradient import Answer, policy_loss
from tunesmith.contracts.policy import Outputs
from tunesmith.errors import UserError
from tunesmith.objectives.grpo import PRESETS, Grpo
from tunesmith.objectives.sampled import Scored

RATIOS = ("token", "sequence", "clipped-weight", "none")
NORMALISE = ("sequence", "tokens", "constant", "sum")


def leaf(seed: int = 5) -> torch.Tensor:
    """Log-probabilities of the tokens now, near the old ones, so that some are clipped and some are not."""
    rows, generator = examples(), torch.Generator().manual_seed(seed)
    noise = 0.3 * torch.randn(sum(lengths()), generator=generator, dtype=torch.float64)
    return (flat(rows, "old") + noise).requires_grad_(True)


def answers_of(rows: list[Any], logprob: torch.Tensor) -> list[Answer]:
    parts = {name: flat(rows, name).split(lengths()) for name in ("old", "reference", "advantage")}
    return [
        Answer(new, old.tolist(), reference.tolist(), advantage.tolist())
        for new, old, reference, advantage in zip(logprob.split(lengths()), *parts.values(), strict=True)
    ]


@pytest.mark.parametrize(("ratio", "normalise"), list(product(RATIOS, NORMALISE)))
def test_value_and_gradient_against_the_reference(ratio: str, normalise: str) -> None:
    """float64 throughout but for the extras, which are exact float32: 1e-7 is their sum's rounding."""
    rows, logprob = examples(), leaf()
    options: dict[str, Any] = {"ratio": ratio, "normalise": normalise, "clip_low": 0.1, "clip_high": 0.2}
    objective = Grpo(**options, kl=0.3, kl_estimator="k2", max_new_tokens=9)
    found = loss_of(objective, rows, logprob)
    wanted = policy_loss(
        answers_of(rows, logprob),
        kind=ratio, normalise=normalise, low=0.1, high=0.2, longest=9, beta=0.3, estimator="k2",
    )  # fmt: skip
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)
    (mine,), (theirs,) = torch.autograd.grad(found, logprob), torch.autograd.grad(wanted, logprob)
    torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("variant", sorted(PRESETS))
def test_a_cut_into_micro_batches_changes_nothing(variant: str) -> None:
    objective, rows, logprob = Grpo(variant=variant, kl=0.1), examples(), leaf()
    whole = loss_of(objective, rows, logprob)
    counts, first = objective.counts(rows), sum(LENGTHS[0])
    parts = []
    for piece, own in (([rows[0]], logprob[:first]), ([rows[1]], logprob[first:])):
        terms = objective.loss(Outputs(logprob=own, entropy=torch.ones_like(own)), objective.collate(piece))
        parts.append(sum(term.weight * term.values.sum() / counts[term.name] for term in terms))
    torch.testing.assert_close(parts[0] + parts[1], whole)


def test_measurements() -> None:
    rows, logprob = examples(), leaf()
    objective = Grpo(kl=0.0)
    batch, counts = objective.collate(rows), objective.counts(rows)
    terms = objective.loss(Outputs(logprob=logprob, entropy=torch.full_like(logprob, 0.7)), batch)
    found = {term.name: float(term.values.detach().sum() / counts[term.name]) for term in terms}
    away = logprob.detach() - flat(rows, "reference")
    assert found["entropy"] == pytest.approx(0.7)
    assert found["kl"] == pytest.approx(float(((-away).exp() - 1 + away).mean()), rel=1e-6)
    assert 0 < found["clipped"] < 1
    assert {term.name: term.weight for term in terms} == {"policy": 1.0, "entropy": 0.0, "kl": 0.0, "clipped": 0.0}


def test_the_correction_weighs_tokens() -> None:
    rows, logprob = examples(), leaf()
    for row in rows:
        row.extras["correction"] = np.zeros(row.targets, dtype=np.float32)  # type: ignore[index]
    assert loss_of(Grpo(kl=0.0), rows, logprob).item() == 0.0


def test_variants_set_defaults_only() -> None:
    assert Grpo().kl == 0.04
    assert Grpo(variant="dapo").clip_high == 0.28
    assert Grpo(variant="dapo", clip_high=0.5).clip_high == 0.5
    assert (Grpo(variant="rloo").reward_kl, Grpo(variant="rloo").ratio) == (0.05, "none")
    assert Grpo(variant="dr-grpo").reward_kl == 0.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"answers": 1}, "at least 2"),
        ({"kl_estimator": "k1"}, "no gradient on average"),
        ({"variant": "rloo", "mini_epochs": 2}, "only one update"),
        ({"kl_target": 5.0}, "in the reward"),
        ({"variant": "gpro"}, "variant"),
        ({"temperature": 0.0}, "temperature"),
        ({"rewards": "nothing"}, "rewards"),
    ],
)
def test_refusals(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Grpo(**options)


def scored() -> Scored:
    """Two groups of two answers, of 2, 1, 1 and 3 tokens; every token went 0.5 nats from the reference."""
    old = np.full(7, -1.0)
    return Scored(np.array([1.0, 0.0, 2.0, 2.0]), np.array([0, 0, 1, 1]), np.array([2, 1, 1, 3]), old, old - 0.5)


def test_signals_of_groups() -> None:
    found = Grpo(variant="dr-grpo").signals(scored(), kl=0.0)["advantage"]
    np.testing.assert_allclose(found, [0.5, 0.5, -0.5, 0, 0, 0, 0])


def test_a_divergence_in_the_reward_counts_whole_answers() -> None:
    """Rewards less 0.1 · (1, 0.5, 0.5, 1.5): 0.9, −0.05, 1.95, 1.85; leave-one-out is the difference of the two."""
    found = Grpo(variant="rloo").signals(scored(), kl=0.1)["advantage"]
    np.testing.assert_allclose(found, [0.95, 0.95, -0.95, 0.1, -0.1, -0.1, -0.1])


def test_reinforce_plus_plus_whitens_rewards_to_go() -> None:
    """To go, at 0.1 · 0.5 a token: (0.9, 0.95, −0.05, 1.95, 1.85, 1.9, 1.95), over all tokens."""
    to_go = np.array([0.9, 0.95, -0.05, 1.95, 1.85, 1.9, 1.95])
    found = Grpo(variant="reinforce++").signals(scored(), kl=0.1)["advantage"]
    np.testing.assert_allclose(found, (to_go - to_go.mean()) / to_go.std(), rtol=1e-6)
