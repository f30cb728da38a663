"""Advantages against numbers derived by hand and a slow reference."""

from __future__ import annotations

import numpy as np
import pytest

from reference.policy_gradient import gae
from reference.policy_gradient import group_advantages as slow
from tunesmith.objectives.advantages import (
    generalised,
    group_advantages,
    sums,
    token_rewards,
    varied,
    whitened,
)

REWARDS = np.array([1.0, 0.0, 0.0, 1.0, 5.0, 5.0, 7.0])
GROUPS = np.array([0, 0, 0, 0, 1, 1, 2])


def test_by_hand() -> None:
    """Group 0 has mean 1/2; the others' mean of its first answer is (0+0+1)/3; its unbiased spread is sqrt(1/3)."""
    centred = group_advantages("centred", REWARDS, GROUPS)
    np.testing.assert_allclose(centred, [0.5, -0.5, -0.5, 0.5, 0, 0, 0])
    out = group_advantages("leave-one-out", REWARDS, GROUPS)
    np.testing.assert_allclose(out, [2 / 3, -2 / 3, -2 / 3, 2 / 3, 0, 0, 0])
    scaled = group_advantages("group", REWARDS, GROUPS)
    np.testing.assert_allclose(scaled[:4], np.array([1, -1, -1, 1]) * 0.5 / (np.sqrt(1 / 3) + 1e-4))
    np.testing.assert_array_equal(scaled[4:], 0.0)


@pytest.mark.parametrize("kind", ["group", "centred", "leave-one-out"])
def test_against_the_reference(kind: str) -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat([0, 1, 2], [4, 2, 7])
    rewards = rng.normal(size=13)
    wanted = np.concatenate([slow(kind, rewards[groups == number].tolist()) for number in range(3)])
    np.testing.assert_allclose(group_advantages(kind, rewards, groups), wanted, rtol=1e-12)  # type: ignore[arg-type]


def test_centred_advantages_ignore_what_is_added_and_scaled_ones_what_is_multiplied() -> None:
    shifted = group_advantages("centred", REWARDS + 3, GROUPS)
    np.testing.assert_allclose(shifted, group_advantages("centred", REWARDS, GROUPS), atol=1e-12)
    scaled = group_advantages("group", REWARDS * 1e4, GROUPS)
    np.testing.assert_allclose(scaled, group_advantages("group", REWARDS, GROUPS), atol=2e-4)  # ε is 1e-4


def test_varied() -> None:
    assert varied(REWARDS, GROUPS).tolist() == [True, False, False]


def test_rewards_of_tokens_end_with_the_answers_own() -> None:
    kl = np.array([1.0, 2.0, 4.0])
    found = token_rewards(np.array([10.0, 20.0]), np.array([2, 1]), kl, 0.5)
    np.testing.assert_allclose(found, [-0.5, 9.0, 18.0])
    np.testing.assert_allclose(kl, [1, 2, 4])  # what is measured stays as it is


def test_gae_by_hand() -> None:
    """Rewards (0, 1), values (2, 3), γ = λ = 1/2: δ = (3/2 − 2, 1 − 3) = (−1/2, −2); A = (−1/2 − 2/4, −2)."""
    found = generalised(np.array([0.0, 1.0]), np.array([2.0, 3.0]), np.array([2]), gamma=0.5, lam=0.5)
    np.testing.assert_allclose(found, [-1.0, -2.0])


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.9, 0.95), (1.0, 0.0), (0.7, 0.3)])
def test_gae_against_the_definition(gamma: float, lam: float) -> None:
    rng = np.random.default_rng(2)
    lengths = np.array([4, 1, 6])
    rewards, values = rng.normal(size=11), rng.normal(size=11)
    edges = np.cumsum(lengths)[:-1]
    parts = zip(np.split(rewards, edges), np.split(values, edges), strict=True)
    wanted = np.concatenate([gae(one.tolist(), two.tolist(), gamma, lam) for one, two in parts])
    np.testing.assert_allclose(generalised(rewards, values, lengths, gamma=gamma, lam=lam), wanted, rtol=1e-12)


def test_without_values_advantages_are_the_rewards_to_go() -> None:
    found = generalised(np.array([1.0, 2.0, 4.0, 8.0]), np.zeros(4), np.array([3, 1]))
    np.testing.assert_allclose(found, [7, 6, 4, 8])


def test_with_the_right_values_nothing_is_better_than_expected() -> None:
    rewards, lengths = np.array([1.0, 2.0, 4.0, 8.0]), np.array([3, 1])
    values = generalised(rewards, np.zeros(4), lengths)
    np.testing.assert_allclose(generalised(rewards, values, lengths, lam=0.7), 0.0, atol=1e-12)


def test_whitened() -> None:
    values = np.array([1.0, 2.0, 6.0])
    found = whitened(values)
    assert found.mean() == pytest.approx(0, abs=1e-12)
    assert found.std() == pytest.approx(1, abs=1e-6)
    assert whitened(values, centre=False).mean() == pytest.approx(3)
    np.testing.assert_allclose(whitened(np.full(4, 2.5)), 0.0)


def test_sums() -> None:
    np.testing.assert_allclose(sums(np.array([1.0, 2.0, 4.0]), np.array([2, 1])), [3, 4])
