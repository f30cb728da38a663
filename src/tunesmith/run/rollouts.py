"""Composition of objectives that sample: a session's prompts, sampler, rewards and reference, as a feed and an exam."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Record
from tunesmith.contracts.policy import Outputs
from tunesmith.contracts.sampler import GREEDY, Sampler, Sampling
from tunesmith.data.loader import EpochOrder
from tunesmith.data.prepare import Prepared
from tunesmith.engine.loop import Beside
from tunesmith.engine.workers import Workers
from tunesmith.evaluation.rewards import RewardReport, evaluate_rewards
from tunesmith.events import Event, Sink, silent
from tunesmith.generation.generator import Generator
from tunesmith.generation.inference import inference
from tunesmith.models.prefixed import context
from tunesmith.objectives.sampled import Sampled
from tunesmith.recipe import Recipe
from tunesmith.recipe.schema import Part
from tunesmith.rewards.build import WeightedRewards, build_rewards
from tunesmith.rollouts.best_of import BestOf, best_of
from tunesmith.rollouts.feed import Plan, RolloutFeed, remembered
from tunesmith.rollouts.groups import Asking
from tunesmith.rollouts.questions import Questions, check_room
from tunesmith.rollouts.rollout import Tools
from tunesmith.run.resolve import parts
from tunesmith.run.scoring import open_scorer
from tunesmith.run.session import Session
from tunesmith.run.synced import synced
from tunesmith.seed import derive

ROWS_AT_ONCE = 64
"""Answers sampled at the same time: more share a decode step than an exam's, all are of similar length."""


REMEMBERED: Mapping[str, Beside] = {"reference": remembered}
"""What the engine asks while it goes through a rollout: the reference was asked when it was sampled."""


def plan_of(recipe: Recipe, prepared: Prepared) -> Plan:
    """How the prompts of ``recipe`` are cut into rollouts and updates."""
    objective = parts(recipe).objective
    assert isinstance(objective, Sampled)
    prompts = len(order_of(recipe, prepared))
    return Plan(recipe.train.batch_size, objective.mini_batches, objective.mini_epochs, prompts)


def order_of(recipe: Recipe, prepared: Prepared) -> EpochOrder:
    """The order in which prompts come."""
    weights = {number: source.weight for number, source in enumerate(recipe.data.train)}
    return EpochOrder(prepared.train, seed=recipe.seed, shuffle=recipe.train.shuffle, weights=weights)


def feed(
    session: Session,
    prepared: Prepared,
    *,
    beside: Mapping[str, Beside],
    folder: Path,
    emit: Sink = silent,
    workers: Workers | None = None,
) -> RolloutFeed:
    """The updates of a session whose objective samples; ``folder`` is the run's.

    Raises ``UserError``: ``no-reward``, ``prompt-too-long``, and what rewards refuse.
    """
    objective, recipe = _objective(session), session.recipe
    records = prepared.records(set(prepared.train.rows.tolist()))
    rewards, judge = _rewards(objective)
    longest = int(prepared.train.lengths.max(initial=0))
    text = check_room(longest, max_new_tokens=objective.max_new_tokens, context=context(session.model))
    if text is not None:
        emit(Event("note", 0, {"text": text}))
    sampler = None if objective.server is None else synced(session, objective.server, folder / "sampled-adapter")
    tools = Tools(
        objective,
        _asking(session, objective.sampling, sampler, logprobs=objective.off_policy != "none"),
        rewards,
        _now(session),
        judge=judge,
        reference=beside.get("reference"),
        tokens=int(recipe.train.tokens_per_microbatch),
        device=session.device,
    )
    shared: Any = {} if workers is None or workers.world == 1 else {"shared": workers.from_first}
    questions, order = Questions(prepared.train, records), order_of(recipe, prepared)
    return RolloutFeed(tools, questions, order, plan_of(recipe, prepared), seed=recipe.seed, emit=emit, **shared)


def measure_rewards(
    session: Session, examples: Sequence[Example], records: Mapping[int, Record], *, sampling: Sampling = GREEDY
) -> RewardReport:
    """Answers to held-out prompts, scored: of at most ``evaluate.prompts`` of ``examples``, drawn by the run's seed."""
    objective, recipe = _objective(session), session.recipe
    rng = np.random.default_rng(derive(recipe.seed, "held-out prompts"))
    count = min(recipe.evaluate.prompts or len(examples), len(examples))
    chosen = [examples[at] for at in sorted(rng.permutation(len(examples))[:count].tolist())]
    rewards, judge = _rewards(objective)
    questions = list(Questions(chosen, records))
    return evaluate_rewards(_asking(session, sampling, None), questions, rewards, judge=judge, seed=recipe.seed)


def best_of_held_out(session: Session, examples: Sequence[Example], records: Mapping[int, Record], *, n: int) -> BestOf:
    """The best of ``n`` answers to held-out prompts by the objective's rewards, beside a single one."""
    objective = _objective(session)
    rewards, _ = _rewards(objective)
    asking = _asking(session, objective.sampling, None)
    return best_of(asking, list(Questions(examples, records)), rewards, n=n, seed=session.recipe.seed)


def read_whole(example: Example) -> Example:
    """A prompt of which every token but the first is a target: what proofs read before anything is sampled."""
    return replace(example, trained=np.arange(len(example)) > 0)


def _objective(session: Session) -> Sampled:
    objective = session.parts.objective
    assert isinstance(objective, Sampled)
    return objective


def _rewards(objective: Sampled) -> tuple[WeightedRewards, WeightedRewards | None]:
    return _built(_text(objective.rewards)), _built(_text(objective.judge)) if objective.judge else None


def _text(given: Sequence[Part]) -> str:
    return json.dumps([one.model_dump() for one in given], sort_keys=True)


@cache
def _built(text: str) -> WeightedRewards:
    """Made once for a process: what a reward loads (a model, a function) stays loaded between evaluations."""
    return build_rewards([Part(**one) for one in json.loads(text)], open_scorer=open_scorer)


def _asking(session: Session, sampling: Sampling, sampler: Sampler | None, *, logprobs: bool = False) -> Asking:
    objective, encoder = _objective(session), session.encoder
    own = Generator(session.policy, stop_ids=sorted(encoder.stop_ids()), batch=ROWS_AT_ONCE, decode=encoder.decode)
    return Asking(
        sampler or own,
        encoder.decode,
        sampling,
        objective.max_new_tokens,
        tuple(objective.stop),
        logprobs,
    )


def _now(session: Session) -> Callable[[Sequence[Example], Batch], Outputs]:
    """The policy as it is now, without dropout."""
    policy, objective = session.policy, session.parts.objective

    def ask(_: Sequence[Example], batch: Batch) -> Outputs:
        with inference(policy):
            outputs: Outputs = policy(batch, objective.want)
        return outputs

    return ask
