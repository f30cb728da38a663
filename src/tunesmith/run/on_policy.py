"""Where an objective learns on some answers of the model's own (``objective.on_policy``), its feed samples them."""

from __future__ import annotations

from typing import Any

from tunesmith.contracts.batch import Feed
from tunesmith.contracts.sampler import Sampling
from tunesmith.generation.generator import Generator
from tunesmith.rollouts.on_policy import Answering, OnPolicyFeed
from tunesmith.run.session import Session

ROWS_AT_ONCE = 64
"""Answers sampled at the same time."""


def on_policy(session: Session, feed: Feed) -> Feed:
    """``feed`` as it is, or with a share of its answers replaced as the objective asks."""
    objective: Any = session.parts.objective
    share = getattr(objective, "on_policy", 0.0)
    if not share:
        return feed
    sampler = Generator(session.policy, stop_ids=sorted(session.encoder.stop_ids()), batch=ROWS_AT_ONCE)
    sampling = Sampling(temperature=objective.sampling_temperature)
    answering = Answering(sampler, share, sampling, objective.max_new_tokens, session.recipe.seed)
    return OnPolicyFeed(feed, answering)
