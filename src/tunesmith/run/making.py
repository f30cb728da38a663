"""``tunesmith make``: rows made by a model, with a ledger beside them."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from tunesmith.data.sources import open_source
from tunesmith.errors import UserError
from tunesmith.evaluation.answers import AnswerRow
from tunesmith.events import Event, Sink, fan_out
from tunesmith.files import sha256
from tunesmith.generation.connection import Connection
from tunesmith.generation.generator import Generator
from tunesmith.generation.remote import RemoteSampler, Tokens
from tunesmith.making import TABLE
from tunesmith.making.author import Author
from tunesmith.making.base import Maker, Parent, Work, require_questions
from tunesmith.making.inputs import Inputs, parents_of
from tunesmith.making.produce import Files, begin, kept_rows, key_of, produce, summary
from tunesmith.models.prefixed import context
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import validated
from tunesmith.run.folder import Run
from tunesmith.run.rows import learned, prepare_with
from tunesmith.run.scoring import open_scorer
from tunesmith.run.session import Language
from tunesmith.run.use import open_any

ROWS_AT_ONCE = 64
"""Answers sampled at the same time."""
PREVIEWED = 3


def make(
    kind: str,
    model: str | Path,
    *,
    out: str | Path,
    pairs: str | Path | None = None,
    dry_run: bool = False,
    sinks: tuple[Sink, ...] = (),
    **options: Any,
) -> dict[str, Any]:
    """Let ``model`` (a run folder, a model folder, ``embedded``) make rows into ``out``, pairs of answers into
    ``pairs``; go on where the same call was stopped.

    ``options`` are those of the maker ``kind`` and of ``making.inputs.Inputs``. Returns ``{how, rows, pairs, ledger,
    written, done, of, dropped, unreadable, measured}``; with ``dry_run`` what would be asked, and nothing is asked.
    Raises ``UserError``: ``unknown-maker``, ``no-data``, ``no-prompt``, ``rows-exist``, ``cannot-combine``, and what
    rows, rewards and the model raise.
    """
    inputs = validated(Inputs, {name: options.pop(name) for name in Inputs.model_fields if name in options})
    maker: Maker = validated(TABLE.load(kind), options, kind)
    if pairs is not None and not maker.makes_pairs:
        raise UserError(f"{kind} makes no pairs of answers", got=f"--pairs {pairs}", code="cannot-combine")
    emit = fan_out(*sinks)
    parents, lost = _parents(kind, str(model), inputs)
    if not parents:
        raise UserError("none of the rows can be read", got=f"{lost:,} rows", code="no-data")
    if maker.needs_questions:
        require_questions(parents)
    files = Files(Path(out), None if pairs is None else Path(pairs))
    author = cache(partial(_author, str(model), inputs))
    if dry_run:
        making = maker.ready(Work(parents, author, [], open_scorer))
        first = [making.first(number) for number in range(min(PREVIEWED, making.units))]
        settings = maker.model_dump(mode="json")
        return {"how": kind, "of": making.units, "unreadable": lost, "first": first, "settings": settings}
    key = key_of(maker, _decisive(str(model), inputs, parents))
    told = {"model": str(model), **inputs.model_dump(mode="json", exclude={"key_variable"})}
    ledger = begin(files, key, maker, told) if files.ledger.exists() else None
    if ledger is None or not ledger["finished"]:
        work = Work(parents, author, [] if ledger is None else kept_rows(files), open_scorer)
        making = maker.ready(work)
        ledger = ledger or begin(files, key, maker, told)
        if ledger["done"]:
            emit(Event("note", 0, {"text": f"going on after {ledger['done']:,} {maker.units}"}))
        ledger = produce(making, ledger, files, kept=work.kept, units=maker.units, emit=emit)
    return summary(ledger, files) | {"unreadable": lost}


def _parents(kind: str, model: str, inputs: Inputs) -> tuple[list[Parent], int]:
    if inputs.rows:
        return parents_of(inputs)
    if kind == "failures":
        return judged_answers(model)[: inputs.limit], 0
    raise UserError(f"{kind} needs rows to make from", hint="Name a file with --rows.", code="no-data")


def judged_answers(run_folder: str | Path) -> list[Parent]:
    """The rows that a run was asked when it was judged, each with what it said.

    Raises ``UserError``: ``not-a-run``, ``no-answers``, ``data-changed``.
    """
    run = Run.open(run_folder).last_stage
    rows = [AnswerRow(**row) for row in run.read("eval/after.json").get("answers", ())]
    if not rows:
        raise UserError(
            f"the run {run_folder} has no answers that could be wrong",
            got=f"objective {run.recipe.objective.name}, evaluate.prompts={run.recipe.evaluate.prompts}",
            hint="Name rows with --rows: the run's model is asked about them.",
            code="no-answers",
        )
    recipe = learned(run.recipe)
    encoder = Language.of(recipe).encoder
    prepared = prepare_with(recipe, encoder)
    held = prepared.validation
    places = {
        row: (prepared.job.sources[source].path, line)
        for row, source, line in zip(held.rows.tolist(), held.sources.tolist(), held.lines.tolist(), strict=True)
    }
    asked: dict[str, Parent] = {}
    for row, record in prepared.records(places.keys()).items():
        prompt = encoder.prompt(record)
        if prompt is not None:
            asked.setdefault(prompt.text, Parent(record, *places[row]))
    missing = [row.prompt for row in rows if row.prompt not in asked]
    if missing:
        raise UserError(
            f"the data of the run {run_folder} is not what it was when it was judged",
            got=f"no held-out row asks: {missing[0][:80]!r}",
            hint="Put the data back, or name rows with --rows.",
            code="data-changed",
        )
    return [replace(asked[row.prompt], answer=row.answer) for row in rows]


def _decisive(model: str, inputs: Inputs, parents: list[Parent]) -> dict[str, Any]:
    """What decides the rows besides the maker's options."""
    rows = [open_source(one.path, split=one.split).fingerprint().hex() for one in inputs.rows]
    answers = [parent.answer for parent in parents if parent.answer is not None]
    named = inputs.model_dump(mode="json", exclude={"key_variable"})
    return {**named, "model": model, "weights": _weights(model), "content": rows, "answers": answers}


def _weights(model: str) -> list[str]:
    """Digests of what a run trained."""
    if not (Path(model) / "recipe.yaml").is_file():
        return []
    return [sha256(file) for file in sorted(Run.open(model).artifact.glob("*.safetensors"))]


def _author(model: str, inputs: Inputs) -> Author:
    if inputs.server is not None:
        return _remote(model, inputs)
    session = open_any(model, template=inputs.template)
    if session.task is not None:
        raise UserError(f"{model} labels texts and writes none", code="writes-no-text")
    encoder = session.encoder
    own = Generator(session.policy, stop_ids=sorted(encoder.stop_ids()), batch=ROWS_AT_ONCE, decode=encoder.decode)
    return Author(own, encoder, encoder.decode, context(session.model))


def _remote(model: str, inputs: Inputs) -> Author:
    """A server answers; tokenizer and template are those of ``model``, whose weights are not loaded."""
    if (Path(model) / "recipe.yaml").is_file():
        recipe = Run.open(model).last_stage.recipe
    else:
        recipe = Recipe(model={"base": model})
    data = recipe.data if inputs.template is None else recipe.data.model_copy(update={"template": inputs.template})
    language = Language.of(recipe.model_copy(update={"data": data}))
    tokenizer, encoder = language.tokenizer, language.encoder
    key = None if inputs.key_variable is None else os.environ.get(inputs.key_variable)
    if inputs.key_variable is not None and not key:
        raise UserError(f"the environment variable {inputs.key_variable} is not set", code="no-key")

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
        return ids

    tokens = Tokens(len(tokenizer), sorted(encoder.stop_ids()), encode)
    sampler = RemoteSampler(Connection(str(inputs.server), key=key), tokens=tokens, model=inputs.served)
    return Author(sampler, encoder, encoder.decode)
