"""Rollouts as updates: their order, what is sampled, resuming in the middle, and what ends a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from families import tiny
from rollouts.rigs import STOPS, feed, logprobs, rewards
from tunesmith.contracts.batch import Example
from tunesmith.contracts.reward import Sample
from tunesmith.errors import UserError
from tunesmith.generation.generator import Generator
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.grpo import Grpo
from tunesmith.objectives.ppo import Ppo
from tunesmith.rollouts.feed import Plan
from tunesmith.rollouts.held import Held


def even(sample: Sample) -> float:
    """Whether the answer's first token is an even number."""
    return float(int((sample.answer or "1").split()[0]) % 2 == 0)


def same(one: Example, other: Example) -> bool:
    return (
        np.array_equal(one.ids, other.ids)
        and np.array_equal(one.trained, other.trained)
        and (one.row, one.source, one.branches) == (other.row, other.source, other.branches)
        and one.extras.keys() == other.extras.keys()
        and all(np.array_equal(one.extras[name], other.extras[name]) for name in one.extras)
    )


def objective(**options: Any) -> Grpo:
    return Grpo(**{"answers": 3, "max_new_tokens": 5, **options})


def test_a_rollout_is_cut_into_updates_and_gone_through_again() -> None:
    """Two mini-batches of three prompts, twice: four updates; each pass holds every prompt once, in another order."""
    made = feed(objective(mini_batches=2, mini_epochs=2), rewards(even))
    updates = [made.update(step) for step in range(4)]
    rows = [[example.row for example in update] for update in updates]
    assert sorted(rows[0] + rows[1]) == sorted(rows[2] + rows[3]) == [0, 1, 2, 3, 4, 5]
    assert rows[0] + rows[1] != rows[2] + rows[3]
    assert sorted(example.row for example in [*made.update(4), *made.update(5)]) == [0, 1, 6, 7, 8, 9]


def test_steps() -> None:
    plan = Plan(batch_size=3, mini_batches=2, mini_epochs=2, prompts=10)
    assert (plan.steps_in(1), plan.steps_in(3), plan.steps_in(0.1)) == (8, 20, 4)


def test_the_policy_has_not_moved_when_it_is_first_trained() -> None:
    policy = CausalPolicy(tiny("llama"))
    made = feed(objective(), rewards(even), policy=policy)
    examples = made.update(0)
    old = torch.from_numpy(np.concatenate([example.extras["old"] for example in examples]))
    torch.testing.assert_close(logprobs(policy, objective(), examples), old, atol=1e-6, rtol=0)
    batch = objective().collate(examples)
    terms = {term.name: term for term in objective().loss(policy(batch, objective().want), batch)}
    assert terms["clipped"].values.sum() == 0
    assert terms["kl"].values.sum() > 0  # the reference is another model


def test_advantages_are_of_the_rewards() -> None:
    made = feed(objective(variant="dr-grpo"), rewards(even))
    for example in made.update(0):
        edges = [*example.branches, len(example)]
        scores = [
            float(example.ids[start] % 2 == 0) if example.ids[start] not in STOPS else 0.0 for start in edges[:-1]
        ]
        mean = sum(scores) / len(scores)
        wanted = np.concatenate(
            [np.full(end - start, score - mean) for start, end, score in zip(edges, edges[1:], scores, strict=False)]
        )
        np.testing.assert_allclose(example.extras["advantage"], wanted, atol=1e-6)


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_resumed_run_sees_the_very_same_updates(stop: int) -> None:
    """Also in the middle of a mini-epoch: the weights have changed since, so nothing of it can be sampled again."""
    kind = Ppo(mini_batches=2, mini_epochs=2, answers=2, max_new_tokens=5, kl=0.1, kl_target=3.0)
    policy = valued()
    whole = feed(kind, rewards(even), policy=policy)
    first = [whole.update(step) for step in range(6)]
    cut = feed(kind, rewards(even), policy=policy)
    for step in range(stop):
        cut.update(step)
    state = {name: tensor.clone() for name, tensor in cut.state().items()}
    again = feed(kind, rewards(even), policy=policy)
    again.restore(state)
    for step in range(stop, 6):
        assert all(same(*pair) for pair in zip(again.update(step), first[step], strict=True))
    wanted, found = whole.state(), again.state()
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, equal_nan=True)


def valued() -> CausalPolicy:
    from tunesmith.models.task_head import add_heads

    model = tiny("llama")
    add_heads(model, {"value": 1})
    torch.nn.init.normal_(model.value_head.weight)
    return CausalPolicy(model)


def test_an_update_out_of_order_is_a_bug() -> None:
    made = feed(objective(mini_batches=2), rewards(even))
    with pytest.raises(RuntimeError):
        made.update(1)


def test_seeds_decide_what_is_sampled() -> None:
    one, again, other = (feed(objective(), rewards(even), seed=seed).update(0) for seed in (1, 1, 2))
    assert all(same(*pair) for pair in zip(one, again, strict=True))
    assert not all(np.array_equal(a.ids, b.ids) for a, b in zip(one, other, strict=False))


def test_no_two_answers_of_a_rollout_are_drawn_with_one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed for the answers of two prompts would make them alike."""
    seeds: list[int] = []
    sample = Generator.sample

    def watched(self: Generator, asks: Any, **options: Any) -> Any:
        seeds.extend(seed for ask in asks for seed in ask.seeds)
        return sample(self, asks, **options)

    monkeypatch.setattr(Generator, "sample", watched)
    made = feed(objective(mini_batches=2), rewards(even))
    made.update(0)
    made.update(2)
    assert len(seeds) == len(set(seeds)) == 2 * 6 * 3


def test_dynamic_sampling_answers_other_prompts_for_those_that_teach_nothing() -> None:
    """Only prompts of odd rows have rewards that differ: they alone are trained on, and others are asked for them."""
    events: list[Any] = []

    def odd_rows_differ(sample: Sample) -> float:
        return float(sample.tokens + len(sample.answer)) if int(sample.prompt.split()[1]) % 2 else 1.0

    made = feed(objective(variant="dapo", answers=4), rewards(odd_rows_differ), events=events)
    assert all(example.row % 2 for example in made.update(0))
    told = events[0].values
    assert told["prompts"] > 3 and told["rounds"] > 1
    plain = feed(objective(answers=4), rewards(odd_rows_differ))
    assert [example.row for example in plain.update(0)].count(0) == 1


def test_without_any_difference_dynamic_sampling_goes_on_with_what_there_is() -> None:
    events: list[Any] = []
    made = feed(objective(variant="dapo"), rewards(lambda _: 1.0), events=events)
    examples = made.update(0)
    assert len(examples) == 3
    assert events[0].values["identical"] == 1.0
    assert all(np.all(example.extras["advantage"] == 0) for example in examples)


def test_rewards_that_never_differ_end_the_run() -> None:
    made = feed(objective(), rewards(lambda _: 0.25))
    made.update(0)
    made.update(1)
    with pytest.raises(UserError, match="no rewards differed in the first 3 rollouts") as caught:
        made.update(2)
    assert caught.value.code == "rewards-alike"


def test_rewards_that_are_all_alike_once_learned_do_not() -> None:
    calls = iter(range(10_000))
    made = feed(objective(), rewards(lambda _: float(next(calls)) if next(calls) < 40 else 1.0))
    for step in range(6):
        made.update(step)


def test_a_reward_that_is_no_number_is_told_by_its_sample() -> None:
    made = feed(objective(), rewards(lambda _: float("nan")))
    with pytest.raises(UserError, match="no finite number"):
        made.update(0)
    assert made.state()["number"] == -1  # nothing half-made is kept


def test_truncated_answers_can_be_left_out() -> None:
    """Answers of 5 tokens were cut; those that are left end in a stop token."""
    kind = objective(mask_truncated=True)
    examples = feed(kind, rewards(even)).update(0)
    assert 0 < sum(example.sequences for example in examples) < 9
    for example in examples:
        ends = [*example.branches[1:], len(example)]
        assert all(example.ids[end - 1] in STOPS for end in ends)


def test_when_nothing_is_left_the_run_says_so() -> None:
    kind = objective(mask_truncated=True, max_new_tokens=1)
    made = feed(kind, rewards(even), seed=3)
    made.tools.asking.sampler.stop_ids = frozenset()  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="longest length allowed"):
        made.update(0)


def test_the_correction_is_one_where_the_sampler_is_the_policy() -> None:
    made = feed(objective(off_policy="truncate", kl=0.0), rewards(even))
    for example in made.update(0):
        np.testing.assert_allclose(example.extras["correction"], 1.0, atol=1e-4)


def test_the_correction_sees_a_filter_of_the_sampler() -> None:
    """With top-k the sampler's tokens were more probable than the policy finds them: weights below 1."""
    made = feed(objective(off_policy="truncate", top_k=5), rewards(even))
    weights = np.concatenate([example.extras["correction"] for example in made.update(0)])
    assert (weights < 1.0).all()


def test_an_adaptive_weight_follows_the_divergence() -> None:
    kind = Ppo(answers=2, max_new_tokens=5, kl=0.1, kl_target=1e-3, mini_epochs=1)
    made = feed(kind, rewards(even), policy=valued())
    weights = []
    for step in range(3):
        made.update(step)
        weights.append(float(made.state()["kl"]))
    np.testing.assert_allclose(weights, [0.102, 0.102 * 1.02, 0.102 * 1.02**2])  # the reference is far: +20% of 0.1


def test_what_a_rollout_tells() -> None:
    events: list[Any] = []
    made = feed(
        objective(), rewards(even), events=events, judge=rewards(lambda sample: float(sample.tokens), "held-out")
    )
    made.update(0)
    (event,) = [event for event in events if event.kind == "rollout"]
    values = event.values
    assert values["parts"] == {"made-up": values["reward"]}
    assert values["judge"]["held-out"] == pytest.approx(values["answer_tokens"])
    assert 0 <= values["truncated"] <= 1 and values["answers"] == 9
    assert set(values["examples"]["best"]) == {"prompt", "answer", "reward"}


def test_without_a_reference_nothing_is_measured_of_it() -> None:
    events: list[Any] = []
    made = feed(objective(kl=0.0, measure_kl=False), rewards(even), events=events, reference=None)
    assert "reference" not in made.update(0)[0].extras
    assert "kl" not in events[0].values


def test_an_empty_state_is_one_too() -> None:
    held = Held(0.5)
    assert Held.of(held.state()) == held


def test_sampling_leaves_training_mode_alone() -> None:
    policy = CausalPolicy(tiny("llama"))
    policy.train()
    made = feed(objective(), rewards(even), policy=policy)
    made.update(0)
    assert policy.training
