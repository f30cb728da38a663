"""One rollout: prompts in, scored answers and what to learn from them out.

    prompts -> answers -> rewards (and the judge's) -> the policy's and the reference's log-probabilities -> signals

With dynamic sampling (DAPO, arXiv 2503.14476, equation 11) prompts whose answers all have one reward are put aside and
further ones answered in their place, up to a number of rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tunesmith.contracts.batch import Example
from tunesmith.contracts.reward import Scores
from tunesmith.errors import UserError
from tunesmith.objectives.advantages import DIFFERENCE, Floats, Ints, sums, varied
from tunesmith.objectives.policy_loss import correction
from tunesmith.objectives.sampled import Sampled, Scored
from tunesmith.rewards.build import WeightedRewards
from tunesmith.rollouts.groups import Asking, Group, examples_of, group_numbers, lengths_of, score
from tunesmith.rollouts.look import Looked, Model, look
from tunesmith.rollouts.questions import Question
from tunesmith.rollouts.watch import Measurements


@dataclass(frozen=True)
class Tools:
    """What a rollout is made with."""

    objective: Sampled
    asking: Asking
    rewards: WeightedRewards
    policy: Model
    """The policy as it is now, asked for ``objective.want``."""
    judge: WeightedRewards | None = None
    reference: Model | None = None
    """The policy as training began; None where nobody asks."""
    tokens: int = 8192
    """Tokens computed at once."""
    device: str = "cpu"


@dataclass(frozen=True)
class Answered:
    """Scored groups: ``scores`` over all their answers in turn; ``prompts`` that were answered for them in all."""

    groups: list[Group]
    scores: Scores
    prompts: int
    rounds: int
    identical: float
    """Share of all prompts answered whose answers had one reward; not a number where each has but one."""


@dataclass(frozen=True)
class Rollout:
    """What training goes through (``examples``), how it looked (``measured``) and what is told about it."""

    examples: list[Example]
    measured: Measurements
    differs: bool
    """Whether any two answers that are compared had different rewards."""
    told: Mapping[str, Any]


Next = Callable[[int], tuple[Sequence[Question], Sequence[Sequence[int]]]]
"""The next so many questions, with the seeds of the answers to each."""


def make(tools: Tools, take: Next, *, prompts: int, kl: float) -> Rollout:
    """Answer ``prompts`` questions of ``take`` and make examples of them; ``kl`` is the divergence's weight now.

    Raises ``UserError``: ``all-truncated``, ``no-logprobs``, and what sampler and rewards raise.
    """
    answered = _answered(tools, take, prompts)
    groups, objective = answered.groups, tools.objective
    whole = examples_of(groups)
    now = look(tools.policy, objective, whole, tokens=tools.tokens, device=tools.device)
    start: Looked | None = None
    if tools.reference is not None:
        start = look(tools.reference, objective, whole, tokens=tools.tokens, device=tools.device)
    scored = Scored(
        rewards=np.array(answered.scores.total, dtype=np.float64),
        groups=group_numbers(groups),
        lengths=lengths_of(groups),
        old=now.logprob,
        reference=None if start is None else start.logprob,
        values=now.value,
    )
    extras = {"old": scored.old, **objective.signals(scored, kl=kl), **_correction(tools, groups, scored.old)}
    if scored.reference is not None:
        extras["reference"] = scored.reference
    examples = examples_of(groups, extras, keep=_kept(objective, groups))
    if not examples:
        raise UserError(
            "every answer of a rollout was cut off at the longest length allowed, and those are left out of the loss",
            got=f"objective.max_new_tokens={objective.max_new_tokens}",
            hint="Raise objective.max_new_tokens, or set objective.mask_truncated=false.",
            code="all-truncated",
        )
    judge = None if tools.judge is None else score(groups, tools.judge)
    measured = _measured(scored, now, judge, counted=tools.reference is not None)
    differs = bool(varied(scored.rewards, _compared(objective, scored)).any())
    return Rollout(
        examples, measured, differs, _told(answered, measured, judge, kl=kl if objective.reward_kl else objective.kl)
    )


def _answered(tools: Tools, take: Next, prompts: int) -> Answered:
    most = tools.objective.most_rounds
    kept: list[tuple[Group, Scores]] = []
    spare: list[tuple[Group, Scores]] = []
    asked = rounds = 0
    while len(kept) < prompts and rounds < (most or 1):
        rounds += 1
        questions, seeds = take(prompts - len(kept))
        groups = tools.asking.ask(questions, seeds)
        asked += len(groups)
        for group, own in zip(groups, _split(score(groups, tools.rewards), groups), strict=True):
            teaches = most is None or _differ(own)
            (kept if teaches else spare).append((group, own))
    alike = sum(not _differ(own) for _, own in (*kept, *spare))
    chosen = kept or spare[:prompts]
    groups, parts = [group for group, _ in chosen], [own for _, own in chosen]
    identical = alike / asked if tools.objective.answers_each > 1 else float("nan")
    return Answered(groups, _joined(parts), asked, rounds, identical)


def _differ(scores: Scores) -> bool:
    return max(scores.total) - min(scores.total) > DIFFERENCE


def _split(scores: Scores, groups: Sequence[Group]) -> list[Scores]:
    """The scores of each group."""
    edges = np.cumsum([0, *(len(group.answers) for group in groups)]).tolist()
    return [
        Scores(scores.total[left:right], {name: part[left:right] for name, part in scores.parts.items()})
        for left, right in pairwise(edges)
    ]


def _joined(scores: Sequence[Scores]) -> Scores:
    total = list(chain.from_iterable(one.total for one in scores))
    return Scores(
        total, {name: list(chain.from_iterable(one.parts[name] for one in scores)) for name in scores[0].parts}
    )


def _compared(objective: Sampled, scored: Scored) -> Ints:
    """Which answers are compared with one another: those of a prompt, or where each has but one, all."""
    return scored.groups if objective.answers_each > 1 else np.zeros_like(scored.groups)


def _kept(objective: Sampled, groups: Sequence[Group]) -> NDArray[np.bool_] | None:
    if not objective.mask_truncated:
        return None
    return np.array([answer.stopped for group in groups for answer in group.answers])


def _correction(tools: Tools, groups: Sequence[Group], old: Floats) -> dict[str, Floats]:
    objective = tools.objective
    if objective.off_policy == "none":
        return {}
    drawn = [answer.drawn_logprobs for group in groups for answer in group.answers]
    if any(one is None for one in drawn):
        raise UserError(
            "the sampler does not say how probable its tokens were, so nothing can be corrected by it",
            got=f"objective.off_policy={objective.off_policy}",
            allowed="objective.off_policy=none, or a sampler with log-probabilities",
            code="no-logprobs",
        )
    sampled = torch.tensor(list(chain.from_iterable(one for one in drawn if one is not None)), dtype=torch.float64)
    weight = correction(objective.off_policy, torch.from_numpy(old), sampled, cap=objective.off_policy_cap)
    return {} if weight is None else {"correction": weight.numpy()}


def _measured(scored: Scored, now: Looked, judge: Scores | None, *, counted: bool) -> Measurements:
    return Measurements(
        reward=float(scored.rewards.mean()),
        judge=float("nan") if judge is None else float(np.mean(judge.total)),
        kl=float(sums(scored.kl, scored.lengths).mean()) if counted else float("nan"),
        entropy=float(now.entropy.mean()),
        tokens=float(scored.lengths.mean()),
    )


def _told(answered: Answered, measured: Measurements, judge: Scores | None, *, kl: float) -> dict[str, Any]:
    """The values of a rollout's event: plain numbers, and the best and the worst answer."""
    samples = [sample for group in answered.groups for sample in group.samples]
    total = answered.scores.total
    best, worst = int(np.argmax(total)), int(np.argmin(total))
    return {
        "reward": measured.reward,
        "parts": {name: float(np.mean(values)) for name, values in answered.scores.parts.items()},
        "judge": {} if judge is None else {name: float(np.mean(values)) for name, values in judge.parts.items()},
        "kl": measured.kl,
        "kl_weight": kl,
        "entropy": measured.entropy,
        "answer_tokens": measured.tokens,
        "truncated": float(np.mean([sample.truncated for sample in samples])),
        "identical": answered.identical,
        "prompts": answered.prompts,
        "answers": len(samples),
        "rounds": answered.rounds,
        "examples": {
            name: {"prompt": samples[at].prompt[:200], "answer": samples[at].answer[:200], "reward": total[at]}
            for name, at in (("best", best), ("worst", worst))
        },
    }
