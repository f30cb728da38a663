"""Warnings about gamed rewards, the adaptive weight, best of n."""

from __future__ import annotations

import math
from typing import Any

import pytest

from families import tiny
from rollouts.rigs import feed, questions, rewards, tools
from tunesmith.contracts.reward import Sample
from tunesmith.evaluation.rewards import evaluate_rewards
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.grpo import Grpo
from tunesmith.rollouts.best_of import best_of
from tunesmith.rollouts.kl_control import adapted
from tunesmith.rollouts.watch import Measurements, warnings


def history(
    count: int = 12, *, judge: float = 0.02, tokens: float = 0.0, entropy: float = 0.0, kl: float = 0.1
) -> list[Measurements]:
    """A reward that rises by 0.05 a rollout; the other measurements change by what is given."""
    return [
        Measurements(
            reward=0.1 + 0.05 * at + 0.01 * (at % 2),
            judge=0.5 + judge * at + 0.01 * (at % 3),
            kl=kl * at,
            entropy=max(0.01, 1.0 + entropy * at),
            tokens=20.0 + tokens * at + at % 2,
        )
        for at in range(count)
    ]


def test_a_rise_that_is_real_warns_of_nothing() -> None:
    assert warnings(history()) == {}
    assert warnings(history(judge=math.nan)) == {}


@pytest.mark.parametrize(
    ("name", "options"),
    [("judge", {"judge": -0.03}), ("length", {"tokens": 2.0}), ("entropy", {"entropy": -0.12}), ("kl", {"kl": 2.0})],
)
def test_each_sign(name: str, options: dict[str, float]) -> None:
    assert set(warnings(history(**options))) == {name}


def test_a_judge_that_only_trembles_is_no_sign() -> None:
    assert warnings(history(judge=-0.001)) == {}


def test_a_warning_is_told_once() -> None:
    """A reward that counts tokens, and a judge that wants few: only the first sign is told, also after resuming."""
    events: list[Any] = []
    step = iter(range(1000))
    made = feed(
        Grpo(answers=3, max_new_tokens=5), rewards(lambda sample: next(step) / 10 + sample.tokens / 100),
        judge=rewards(lambda _: -next(step) / 10), events=events,
    )  # fmt: skip
    for number in range(12):
        made.update(number)
        made.restore(made.state())
    told = [event for event in events if event.kind == "note" and "gamed" in event.values["text"]]
    assert len(told) == 1
    assert told[0].step == 7


def test_few_rollouts_tell_nothing() -> None:
    assert warnings(history(7, judge=-0.3)) == {}


def test_adaptive_weight_by_hand() -> None:
    """Twice the target is an error of 1, held at 0.2; 10% below is −0.1."""
    assert adapted(0.1, 12.0, target=6.0, rate=0.1) == pytest.approx(0.1 * 1.02)
    assert adapted(0.1, 5.4, target=6.0, rate=0.5) == pytest.approx(0.1 * 0.95)
    assert adapted(0.1, 99.0, target=None, rate=0.1) == 0.1


def low(sample: Sample) -> float:
    """1 where no token is above 99."""
    return float(all(int(word) < 100 for word in sample.answer.split()))


def test_best_of_n_beats_one_sample() -> None:
    """An answer of one token is right with about a third: the best of 8 with 1 − (2/3)^8 ≈ 0.96."""
    objective, policy = Grpo(max_new_tokens=1), CausalPolicy(tiny("llama"))
    asking = tools(objective, policy, rewards(low)).asking
    found = best_of(asking, list(questions()), rewards(low), n=8)
    assert found.gain.low > 0.2
    assert found.best.value > 0.8 > found.one.value
    assert found.kl_bound == pytest.approx(math.log(8) - 7 / 8)
    assert all(one.rewards[one.best] == max(one.rewards) for one in found.chosen)
    alone = best_of(asking, list(questions()), rewards(low), n=1)
    assert (alone.gain.value, alone.kl_bound) == (0.0, 0.0)


def test_held_out_rewards() -> None:
    objective, policy = Grpo(max_new_tokens=1), CausalPolicy(tiny("llama"))
    asking = tools(objective, policy, rewards(low)).asking
    report = evaluate_rewards(asking, list(questions()), rewards(low), judge=rewards(lambda _: 0.5, "j"), answers=4)
    metrics = report.metrics()
    assert metrics["reward"].n == 10
    assert metrics["judge_j"].value == 0.5
    assert 0 < metrics["reward"].value < 1
    assert report.values()["loss"] == -metrics["reward"].value
    again = evaluate_rewards(asking, list(questions()), rewards(low), answers=4)
    assert again.metrics()["reward"].value == metrics["reward"].value
    assert report.sums.same_sequences(report.sums)
