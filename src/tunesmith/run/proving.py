"""``tunesmith check``: the proofs of a recipe on its own model and rows, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Record
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.prepare import Prepared
from tunesmith.events import Sink, fan_out, silent
from tunesmith.objectives.pretrain import Pretrain
from tunesmith.objectives.reading import summed
from tunesmith.proof.base import Case, Outcome
from tunesmith.proof.prove import prove
from tunesmith.recipe import Recipe
from tunesmith.run.beside import beside_of
from tunesmith.run.programme import expanded, stage_recipes
from tunesmith.run.rollouts import read_whole
from tunesmith.run.rows import learned, prepare_with
from tunesmith.run.session import Language, Session, cache_folder, open_session
from tunesmith.seed import derive

ROWS = 6


class WithValue(Pretrain):
    """Reads texts with the value head as well, so that all that is trained has a gradient."""

    want: ClassVar[Want] = Want(logprob=True, value=True)

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Trained tokens of the update, for words and values."""
        tokens = super().counts(examples)
        return {**tokens, "value": sum(tokens.values())}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The loss of the words, and the values themselves: a head of zeros has a gradient, too."""
        assert outputs.value is not None
        return [*super().loss(outputs, batch), *summed("value", outputs.value, batch)]


def check(recipe: Recipe, *, sinks: tuple[Sink, ...] = ()) -> list[Outcome]:
    """Every proof with what was measured; nothing is trained and nothing but the proof cache is written.

    Each stage of a recipe is proven on the base, its outcomes named ``<stage>/<proof>``.
    """
    staged = expanded(recipe, emit=fan_out(*sinks))
    if not staged.stages:
        return _check_one(recipe, sinks)
    return [
        replace(outcome, name=f"{stage.name}/{outcome.name}")
        for stage in stage_recipes(staged)
        for outcome in _check_one(stage, sinks)
    ]


def _check_one(recipe: Recipe, sinks: tuple[Sink, ...]) -> list[Outcome]:
    emit = fan_out(*sinks)
    language, recipe = Language.of(recipe), learned(recipe)
    prepared = prepare_with(recipe, language.encoder, emit=emit)
    return prove_session(open_session(recipe, language, emit=emit), prepared, emit=emit, budget_seconds=None)


def prove_session(
    session: Session, prepared: Prepared, *, emit: Sink = silent, budget_seconds: float | None = 60.0
) -> list[Outcome]:
    """Run the proofs on a session at step 0; afterwards it is, bit for bit, what it was."""
    examples, objective = _sample(prepared, session.recipe.seed), session.parts.objective
    if objective.samples:  # nothing is sampled yet: the prompts themselves are read
        reading = WithValue if "value" in objective.more_heads() else Pretrain
        examples, objective = [read_whole(example) for example in examples], reading()
    case = Case(
        policy=session.policy,
        method=session.parts.method,
        attached=session.attached,
        weights=session.weights,
        objective=objective,
        encoder=session.encoder,
        config=session.recipe.train,
        examples=examples,
        records=_records(prepared, examples),
        targets=None if session.parts.objective.samples else prepared.train.trained_counts,
        seed=session.recipe.seed,
    )
    case = replace(case, beside=beside_of(session, case.windows))
    return prove(case, budget_seconds=budget_seconds, cache=cache_folder() / "proofs", emit=emit)


def _sample(prepared: Prepared, seed: int) -> Sequence[Example]:
    """A few training sequences, drawn by seed."""
    generator = np.random.default_rng(derive(seed, "proofs"))
    count = min(ROWS, len(prepared.train))
    return [prepared.train[int(index)] for index in generator.choice(len(prepared.train), count, replace=False)]


def _records(prepared: Prepared, examples: Sequence[Example]) -> Mapping[int, Record]:
    return prepared.records([example.row for example in examples])
