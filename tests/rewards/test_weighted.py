"""The weighted sum: its numbers, and that whatever a reward does wrong ends in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from reward_samples import said

from tunesmith.contracts.reward import Sample, Verdict
from tunesmith.errors import UserError
from tunesmith.recipe.schema import Part
from tunesmith.rewards import TABLE
from tunesmith.rewards.base import RewardConfig
from tunesmith.rewards.build import Weighted, WeightedRewards, build_rewards, read_rewards
from tunesmith.rewards.model import Model
from tunesmith.rewards.numeric import Numeric


class Given:
    """A reward that gives what it was made with, or raises it."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def score(self, samples: Sequence[Sample]) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Explained(Given):
    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        return [Verdict(score, f"because {score}") for score in self.result]


def only(result: Any) -> WeightedRewards:
    return WeightedRewards((Weighted("mine", 2.0, Given(result)),))


def test_the_sum_is_weighted_and_the_parts_are_not() -> None:
    """1 · [1, 0] + 0.25 · [1, 1] - 0.5 · [0, 1] = [1.25, -0.25]."""
    rewards = build_rewards(
        [
            Part(name="numeric"),
            {"name": "format", "pattern": "#", "weight": 0.25},
            {"name": "format", "pattern": "3", "weight": -0.5},
        ]
    )
    scores = rewards.score([said("#### 2", "2"), said("#### 3", "2")])
    assert scores.total == [1.25, -0.25]
    assert scores.parts == {"numeric": [1.0, 0.0], "format": [1.0, 1.0], "format-2": [0.0, 1.0]}
    assert scores.notes == {}


def test_reasons_are_kept() -> None:
    scores = WeightedRewards((Weighted("mine", 2.0, Explained([0.5, 1.0])),)).score([said(), said()])
    assert scores.total == [1.0, 2.0]
    assert scores.notes == {"mine": ["because 0.5", "because 1.0"]}


@pytest.mark.parametrize("result", [[1, True, np.float32(0.5)], np.array([1.0, 1.0, 0.5]), (1.0, 1.0, 0.5)])
def test_numbers_of_any_kind_are_taken(result: Any) -> None:
    scores = only(result).score([said()] * 3)
    assert scores.parts["mine"] == [1.0, 1.0, 0.5]
    assert all(type(value) is float for value in scores.parts["mine"])


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ([1.0, math.nan], r"no finite number for sample 2 \('Why\?'\); got nan"),
        ([1.0, math.inf], r"sample 2 .*got inf"),
        ([-math.inf, 1.0], r"sample 1 .*got -inf"),
        ([1.0, None], r"sample 2 .*got None"),
        ([1.0, "1"], r"sample 2 .*got '1'"),
        ([1.0, [1.0]], r"sample 2 "),
        ([1.0, 10**400], r"sample 2 "),
        ([1.0], r"each of 2 samples.*sample 1 .*got 1 numbers; allowed: a list of 2 numbers"),
        ([1.0] * 3, r"got 3 numbers"),
        ([], r"got 0 numbers"),
        (None, r"got NoneType"),
        (1.0, r"got float"),
        ("ab", r"got str"),
        (iter([1.0, 1.0]), r"got list_iterator"),
        (ValueError("no digits"), r"failed: ValueError: no digits \(test_weighted.py, line \d+\); sample 1 "),
    ],
)
def test_what_a_reward_does_wrong_is_told_in_one_sentence(result: Any, words: str) -> None:
    with pytest.raises(UserError, match=f"the reward mine .*{words}") as raised:
        only(result).score([said(prompt="What?"), said(prompt="Why?")])
    assert "\n" not in str(raised.value)
    assert raised.value.code in ("bad-reward", "reward-failed")


def test_verdicts_are_checked_as_scores_are() -> None:
    with pytest.raises(UserError, match="sample 2"):
        WeightedRewards((Weighted("mine", 1.0, Explained([0.5, math.nan])),)).score([said(), said()])


def test_no_samples_have_no_scores() -> None:
    assert build_rewards(["numeric"]).score([]).parts == {"numeric": []}


def test_rows_that_can_never_be_scored_are_found_beforehand() -> None:
    rewards = build_rewards(["numeric"])
    rewards.require_rows([said("", "1")])
    with pytest.raises(UserError, match=r"sample 2 .*no number: 'none'"):
        rewards.require_rows([said("", "1"), said("", "none")])


def test_mistakes_in_the_recipe_are_told() -> None:
    with pytest.raises(UserError, match="Did you mean 'numeric'"):
        build_rewards([{"name": "numric"}])
    with pytest.raises(UserError, match="Did you mean 'tolerance'"):
        build_rewards([{"name": "numeric", "tolrance": 1}])
    with pytest.raises(UserError, match="name is missing"):
        build_rewards([{"weight": 1}])
    with pytest.raises(UserError, match="there is no reward"):
        build_rewards([])
    assert read_rewards([Numeric(weight=2)]) == [Numeric(weight=2)]


def test_the_reward_model_is_opened_by_the_run() -> None:
    opened: list[str] = []

    def open_scorer(path: str) -> Any:
        opened.append(path)
        return lambda samples: [len(sample.answer) / 4 for sample in samples]

    rewards = build_rewards([{"name": "model", "path": "runs/rm", "weight": 4}], open_scorer=open_scorer)
    assert rewards.score([said("ab"), said("abc")]).total == [2.0, 3.0]
    assert opened == ["runs/rm"]
    with pytest.raises(UserError, match="only be used inside a run"):
        build_rewards([Model(path="runs/rm")])


def test_every_reward_is_described_and_weighted() -> None:
    for name in TABLE:
        config = TABLE.load(name)
        assert issubclass(config, RewardConfig)
        assert config.part_name() == name
        assert isinstance(config.paper, str)
        assert all(field.description for field in config.model_fields.values())
