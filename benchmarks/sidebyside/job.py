"""A recipe as the engine's job, opened as a user's run opens it: what every benchmark that times updates begins with.

``run.training`` composes the same for whole runs, with exams, checkpoints and events around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from tunesmith.engine.loop import Job
    from tunesmith.recipe import Recipe
    from tunesmith.run.session import Session


@dataclass(frozen=True)
class Opened:
    """A job, and the session it belongs to."""

    job: Job
    session: Session


def opened(
    recipe: Recipe, *, steps: int, folder: Path = Path("unused"), start: Mapping[str, torch.Tensor] | None = None
) -> Opened:
    """Model, rows and method of ``recipe`` for ``steps`` updates; ``start`` replaces values of what is trained."""
    from tunesmith.engine import loop, optimizers
    from tunesmith.engine.schedules import schedule
    from tunesmith.run import rollouts
    from tunesmith.run.beside import beside_of
    from tunesmith.run.order import plain_feed
    from tunesmith.run.rows import learned, prepare_with
    from tunesmith.run.session import Language, open_session

    recipe = learned(recipe)
    language = Language.of(recipe)
    prepared = prepare_with(recipe, language.encoder)
    session = open_session(recipe, language)
    session.weights.set({**session.weights.values, **(start or {})})
    recipe, train = session.recipe, session.recipe.train
    beside: Any = beside_of(session, prepared.train)
    feed: Any = plain_feed(recipe, prepared)
    if session.parts.objective.samples:
        feed = rollouts.feed(session, prepared, beside=beside, folder=folder)
        beside = rollouts.REMEMBERED
    job = loop.Job(
        policy=session.policy,
        attached=session.attached,
        objective=session.parts.objective,
        weights=session.weights,
        optimizer=optimizers.build(session.weights, train),
        schedule=schedule(train.schedule, total=steps, warmup=train.warmup),
        feed=feed,
        config=train,
        folder=folder,
        steps=steps,
        microbatch_tokens=int(train.tokens_per_microbatch),
        beside=beside,
    )
    return Opened(job, session)
