"""Add-ons on a job: each looks at the run as the ones before it left it, and what it changes goes into the job.

The trap: this happens before a checkpoint is restored, so that "where training began" is the same after a stop.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Literal

import numpy as np

from tunesmith.addons import TABLE
from tunesmith.addons.around import Around
from tunesmith.addons.by_source import BySource
from tunesmith.contracts.addon import Addon, Setting
from tunesmith.contracts.batch import Example, Feed
from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import Objective
from tunesmith.contracts.policy import Want
from tunesmith.data import prepare as tokens
from tunesmith.data.loader import SequenceFeed
from tunesmith.data.prepare import Prepared
from tunesmith.engine.loop import Beside, Job
from tunesmith.evaluation.retention import own_text
from tunesmith.events import Event, Sink
from tunesmith.objectives.language import Language
from tunesmith.recipe import Recipe
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import SourceConfig
from tunesmith.run.beside import beside_of
from tunesmith.run.curate import curated
from tunesmith.run.judge import short_names
from tunesmith.run.resolve import settled
from tunesmith.run.rows import Encode
from tunesmith.run.session import Session, cache_folder, retention_cache
from tunesmith.seed import derive

OWN_ROWS = 256
"""Sequences that the base writes for add-ons, of at most 100 tokens; the exam's are others."""
OWN_SEED = 1
"""The exam's own text is of seed 0."""


def addons_of(recipe: Recipe) -> list[Addon]:
    """The recipe's add-ons; a ``UserError`` for an unknown name or option."""
    return [build(TABLE, part) for part in recipe.addons]


def with_addons(job: Job, session: Session, prepared: Prepared) -> Job:
    """``job`` with the recipe's add-ons on it, in their order; losses are told by data source where there are several.

    Call it before a checkpoint is restored. What an add-on measures, the first of several processes measures.
    """
    recipe, plain = session.recipe, session.parts.objective
    names = short_names([source.path for source in prepared.job.sources if not source.validation])
    several = (len(names) > 1 or recipe.addons) and plain.decomposes and not plain.samples
    brought: list[Example] = []

    def rows(encode: Encode | Words) -> Callable[[Literal["auto"] | Sequence[SourceConfig]], list[Example]]:
        def read(data: Literal["auto"] | Sequence[SourceConfig]) -> list[Example]:
            found = _own(session, job.emit) if data == "auto" else _rows(session, prepared, data, encode)
            brought.extend(found)
            return found

        return read

    setting = Setting(
        policy=job.policy,
        attached=job.attached,
        weights=job.weights,
        optimizer=job.optimizer,
        objective=BySource(plain, names).objective if several else plain,
        feed=job.feed,
        tasks=lambda: _tasks(recipe, prepared),
        sources=names,
        rows=rows(Encode(recipe)),
        words=rows(Words(recipe)),
        steps=job.steps,
        tokens=job.microbatch_tokens,
        folder=job.folder / "addons",
        seed=job.seed,
        emit=job.emit,
    )
    changed = job.workers.one_after_first(lambda: _put(job, recipe, setting, names))
    return replace(changed, beside=_beside(changed, session, chain(brought, prepared.train)))


def _put(job: Job, recipe: Recipe, setting: Setting, names: list[str]) -> Job:
    """``names`` of data sources, which the losses are told by, grow with what add-ons bring."""
    penalties = dict(job.penalties)
    for number, (addon, part) in enumerate(zip(addons_of(recipe), recipe.addons, strict=True), start=1):
        own = f"{number}-{part.name}"
        setting.emit(Event("phase", 0, {"text": f"add-on {part.name}"}))
        added = addon.put(replace(setting, folder=setting.folder / own))
        if added.penalty is not None:
            penalties[own] = added.penalty
        names.extend(added.sources)
        setting = replace(
            setting,
            objective=added.objective or setting.objective,
            feed=added.feed or setting.feed,
            attached=added.attached or setting.attached,
            sources=names,
            tokens=added.tokens or setting.tokens,
        )
    return replace(
        job,
        objective=setting.objective,
        feed=setting.feed,
        attached=setting.attached,
        penalties=penalties,
        microbatch_tokens=setting.tokens,
    )


class _Asking(Around):
    """An objective that wants other models beside it than its own."""

    def __init__(self, inner: Objective, beside: Mapping[str, Want]) -> None:
        super().__init__(inner)
        self.beside = beside


def _beside(job: Job, session: Session, examples: Iterable[Example]) -> Mapping[str, Beside]:
    """The job's models beside the trained one, asked anew where add-ons want more of them or brought rows."""
    plain, wanted = session.parts.objective, job.objective.beside
    if plain.samples:
        return job.beside
    changed = {name: want for name, want in wanted.items() if plain.beside.get(name) != want or session.recipe.addons}
    if not changed:
        return job.beside
    asking = replace(session.parts, objective=_Asking(job.objective, changed).objective)
    return {**job.beside, **beside_of(replace(session, parts=asking), examples, emit=job.emit)}


def _tasks(recipe: Recipe, prepared: Prepared) -> list[Feed]:
    store = prepared.train
    return [
        SequenceFeed(
            store.only(store.sources == source),
            seed=derive(recipe.seed, "task", source),
            batch_size=recipe.train.batch_size,
            shuffle=recipe.train.shuffle,
        )
        for source in np.unique(store.sources).tolist()
    ]


class Words:
    """Rows as plain sequences, as a picklable function: answers of conversations, the whole of a text."""

    def __init__(self, recipe: Recipe) -> None:
        self.max_tokens = recipe.data.max_tokens

    def __call__(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """Tokens and targets of ``record``; a text is cut into pieces."""
        if record.text is not None:
            return encoder.text(record.text, max_tokens=self.max_tokens)
        return encoder.conversation(record, "answers")

    @property
    def key(self) -> str:
        """What decides the tokens."""
        return json.dumps(["words", self.max_tokens])


def _rows(session: Session, prepared: Prepared, data: Sequence[SourceConfig], encode: Encode | Words) -> list[Example]:
    """Rows of an add-on, curated as those of the run are, in an order drawn by the run's seed."""
    recipe = session.recipe
    if isinstance(session.parts.objective, Language) and recipe.objective.fields.get("response_marker") is None:
        encode = Words(recipe)
    there = curated(settled(recipe, "data", train=list(data), validation=0.0)).data
    found = tokens.prepare(
        there,
        encode,
        prepared.encoder,
        seed=recipe.seed,
        cache=cache_folder() / "tokens",
        options_key=encode.key,
    )
    store = found.accepted().train
    order = np.random.default_rng(derive(recipe.seed, "addon rows")).permutation(len(store))
    return [store[index] for index in order.tolist()]


def _own(session: Session, emit: Sink) -> list[Example]:
    """Text the base writes itself: found again by the base's content, or for this run alone where it goes on."""
    emit(Event("phase", 0, {"text": "the base writes text of its own, to be kept in mind"}))
    with session.attached.off():
        return own_text(
            session.policy,
            session.tokenizer,
            cache=retention_cache(),
            key=session.base_key,
            keep=session.recipe.model.start is None,
            sequences=OWN_ROWS,
            seed=OWN_SEED,
        )
