"""Groups of answers as examples: one prompt, answers as branches, numbers beside the right tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from families import tiny
from rollouts.rigs import asker, decode, logprobs, questions, rewards, tools
from tunesmith.contracts.sampler import Answer, Ask, Sampling
from tunesmith.errors import UserError
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.grpo import Grpo
from tunesmith.rollouts.best_of import best_of
from tunesmith.rollouts.groups import Asking, examples_of, lengths_of
from tunesmith.rollouts.look import look
from tunesmith.rollouts.questions import check_room


class Script:
    """A sampler that says what it is told."""

    def __init__(self, *answers: list[Answer]) -> None:
        self.answers = answers

    def sample(self, asks: list[Ask], *, logprobs: bool = False) -> list[list[Answer]]:
        return list(self.answers)[: len(asks)]


def asking(*answers: list[Answer]) -> Asking:
    return Asking(Script(*answers), decode, Sampling(1.0), 8)  # type: ignore[arg-type]


SAID = ([Answer([5, 6], 2), Answer([], 2)], [Answer([9, 9, 9]), Answer([4], "x", text="cut")])


def test_examples_hold_prompts_answers_and_their_stop_tokens() -> None:
    asked = list(questions())[:2]
    groups = asking(*SAID).ask(asked, [[1, 2], [3, 4]])
    first, second = examples_of(groups, {"mark": np.arange(8.0)})
    start = len(asked[0].ids)
    assert first.ids.tolist() == [*asked[0].ids, 5, 6, 2, 2]  # the empty answer is its stop token
    assert first.branches == (start, start + 3)
    assert first.trained.tolist() == [False] * start + [True] * 4
    assert second.ids.tolist()[len(asked[1].ids) :] == [9, 9, 9, 4]  # a stop string is no token
    assert (first.extras["mark"].tolist(), second.extras["mark"].tolist()) == ([0, 1, 2, 3], [4, 5, 6, 7])
    assert lengths_of(groups).tolist() == [3, 1, 3, 1]


def test_what_rewards_see() -> None:
    groups = asking(*SAID).ask(list(questions())[:2], [[1, 2], [3, 4]])
    samples = [sample for group in groups for sample in group.samples]
    assert [sample.answer for sample in samples] == ["5 6", "", "9 9 9", "cut"]
    assert [sample.truncated for sample in samples] == [False, False, True, False]
    assert [sample.tokens for sample in samples] == [3, 1, 3, 1]
    assert [sample.reference for sample in samples] == ["0", "0", "1", "1"]
    assert samples[0].prompt == "question 0"


def test_only_what_is_kept_is_trained_on() -> None:
    groups = asking(*SAID).ask(list(questions())[:2], [[1, 2], [3, 4]])
    (only,) = examples_of(groups, {"mark": np.arange(8.0)}, keep=np.array([False, True, False, False]))
    assert (only.row, only.sequences, only.extras["mark"].tolist()) == (0, 1, [3.0])
    left = examples_of(groups, {"mark": np.arange(8.0)}, keep=np.array([True, False, False, True]))
    assert [example.extras["mark"].tolist() for example in left] == [[0, 1, 2], [7]]


def test_an_answer_without_a_token_is_refused() -> None:
    with pytest.raises(UserError, match="without a single token"):
        asking([Answer([])]).ask(list(questions())[:1], [[1]])


@pytest.mark.parametrize("tokens", [1, 40, 10_000])
def test_looking_reads_every_token_whatever_the_cut(tokens: int) -> None:
    """In the order of the examples; each answer as if it stood alone behind its prompt."""
    objective, policy = Grpo(max_new_tokens=6), CausalPolicy(tiny("llama"))
    made = tools(objective, policy, None)  # type: ignore[arg-type]
    groups = made.asking.ask(list(questions())[:4], [[1, 2], [3, 4], [5, 6], [7, 8]])
    found = look(asker(policy, objective.want), objective, examples_of(groups), tokens=tokens, device="cpu")
    plain, wanted = tiny("llama"), []
    for group in groups:
        for answer in group.tokens:
            ids = torch.tensor([[*group.question.ids, *answer]])
            with torch.no_grad():
                logits = plain(ids).logits[0].double()
            log_p = logits.log_softmax(-1)[len(group.question.ids) - 1 : -1]
            wanted.append(log_p.gather(1, torch.tensor(answer)[:, None])[:, 0])
    np.testing.assert_allclose(found.logprob, torch.cat(wanted).numpy(), atol=2e-5)
    assert found.value is None


def test_the_samplers_probabilities_are_the_trainers() -> None:
    objective, policy = Grpo(max_new_tokens=6), CausalPolicy(tiny("llama"))
    made = tools(objective, policy, None)  # type: ignore[arg-type]
    groups = made.asking.ask(list(questions())[:4], [[1, 2, 3]] * 4)
    drawn = [value for group in groups for answer in group.answers for value in answer.drawn_logprobs or ()]
    torch.testing.assert_close(torch.tensor(drawn), logprobs(policy, objective, examples_of(groups)), atol=1e-4, rtol=0)


def test_room() -> None:
    assert check_room(20, max_new_tokens=30, context=64) is None
    assert check_room(20, max_new_tokens=30, context=None) is None
    assert "14 of" in str(check_room(50, max_new_tokens=30, context=64))
    with pytest.raises(UserError, match="no room for an answer"):
        check_room(64, max_new_tokens=30, context=64)


def test_the_best_of_several_is_the_highest_of_each_prompt() -> None:
    objective, policy = Grpo(answers=4, max_new_tokens=5), CausalPolicy(tiny("llama"))
    score = rewards(lambda sample: float(sum(map(int, sample.answer.split()))))
    found = best_of(tools(objective, policy, score).asking, list(questions(6)), score, n=4, seed=1)
    each = np.array([chosen.rewards for chosen in found.chosen])
    assert each.shape == (6, 4)
    assert (each.max(axis=1) > each.mean(axis=1)).any()
    assert found.one.value == pytest.approx(each.mean())
    assert found.best.value == pytest.approx(each.max(axis=1).mean())
    assert found.gain.value == pytest.approx(found.best.value - found.one.value)
    assert [chosen.rewards[chosen.best] for chosen in found.chosen] == each.max(axis=1).tolist()
    assert found.kl_bound == pytest.approx(math.log(4) - 3 / 4)
