"""Data of a recipe: rows to tokens, and what proofs and evaluation need of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Encoder, Encoding, Prompt, Record
from tunesmith.data import prepare as tokens
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.fit import fit
from tunesmith.data.formats.base import BadRow
from tunesmith.data.ledger import Ledger
from tunesmith.data.sources import Broken, open_source
from tunesmith.data.store import example_of
from tunesmith.errors import UserError
from tunesmith.events import Event, Sink, fan_out, silent
from tunesmith.files import write_text
from tunesmith.models.load import EMBEDDED
from tunesmith.recipe import Recipe
from tunesmith.recipe.schema import Part, SourceConfig
from tunesmith.run.curate import curated
from tunesmith.run.resolve import parts, settled
from tunesmith.run.session import Language, Session, cache_folder
from tunesmith.seed import derive

GENERATED_ROWS = 3000
PROGRESS_EVERY = 5000


class Encode:
    """An objective's ``encode`` as a picklable function; the objective's options name the tokens in the cache."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._objective: Any = None

    def __call__(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """Tokens and targets of ``record``."""
        if self._objective is None:
            self._objective = parts(self.recipe).objective
        encodings: list[Encoding] = self._objective.encode(record, encoder)
        return encodings

    def __getstate__(self) -> dict[str, Any]:
        return {"recipe": self.recipe, "_objective": None}

    @property
    def key(self) -> str:
        """Everything about the objective that decides tokens."""
        return json.dumps(self.recipe.objective.model_dump(), sort_keys=True)


def learned(recipe: Recipe) -> Recipe:
    """The recipe with what the training rows decide of its objective: names of labels, balanced weights."""
    objective = parts(recipe).objective
    found = objective.learn(tokens.training_records(curated(recipe).data), max_tokens=recipe.data.max_tokens)
    if not found:
        return recipe
    fields = {**recipe.objective.fields, **found}
    return recipe.model_copy(update={"objective": Part(name=recipe.objective.name, **fields)})


def prepare(recipe: Recipe, *, sinks: tuple[Sink, ...] = ()) -> tokens.Prepared:
    """Tokens and ledger of a recipe without its model, also where training would refuse them (``refusal``)."""
    return _prepared(learned(recipe), Language.of(recipe).encoder, emit=fan_out(*sinks))


def said(prepared: tokens.Prepared) -> Callable[[Example], str]:
    """What the objective that ``prepared`` rows were read by makes of their labels, in words."""
    encode = prepared.job.encode
    assert isinstance(encode, Encode)
    words: Callable[[Example], str] = parts(encode.recipe).objective.words
    return words


def prepare_with(recipe: Recipe, encoder: ChatEncoder, *, emit: Sink = silent) -> tokens.Prepared:
    """Tokens of ``recipe`` to train on; the ledger's summary is told, and what may not be trained on is refused."""
    return _prepared(recipe, encoder, emit=emit).accepted()


def _with_formats(refused: UserError, ledger: Ledger, recipe: Recipe) -> UserError:
    """The refusal of rows with what the objective reads, where they are rows of another kind."""
    formats = parts(recipe).objective.formats
    others = sorted({source.format for source in ledger.sources} - set(formats))
    if not formats or not others or refused.code not in ("no-rows-left", "too-many-lost"):
        return refused
    hint = (
        f"The objective {recipe.objective.name} reads rows of the format {' or '.join(formats)}, and these are "
        f"{' and '.join(others)}: `tunesmith formats {formats[0]}` shows the columns. {refused.hint or ''}"
    )
    return UserError(refused.what, got=refused.got, allowed=refused.allowed, hint=hint.strip(), code=refused.code)


def _prepared(recipe: Recipe, encoder: ChatEncoder, *, emit: Sink) -> tokens.Prepared:
    data = with_rows(recipe, emit=emit).data
    encode = Encode(recipe)
    marker = recipe.objective.fields.get("response_marker")
    told = 0

    def progress(done: int) -> None:
        nonlocal told
        if done - told >= PROGRESS_EVERY:
            told = done
            emit(Event("phase", 0, {"text": f"tokenising: {done:,} rows"}))

    emit(Event("phase", 0, {"text": "reading and tokenising rows"}))
    prepared = tokens.prepare(
        data,
        encode,
        encoder,
        seed=recipe.seed,
        cache=cache_folder() / "tokens",
        options_key=encode.key,
        marker=marker,
        progress=progress,
    )
    emit(Event("note", 0, {"text": prepared.words}))
    for line in prepared.ledger.summary_lines():
        emit(Event("note", 0, {"text": line}))
    if prepared.refusal is None:
        return prepared
    return replace(prepared, refusal=_with_formats(prepared.refusal, prepared.ledger, recipe))


def with_rows(recipe: Recipe, *, emit: Sink = silent) -> Recipe:
    """The recipe with its rows curated; where it names none, with those that the embedded model generates."""
    if recipe.data.train:
        return curated(recipe, emit=emit)
    if recipe.model.base != EMBEDDED:
        raise UserError("no training data", hint="Name a file in data.train.", code="no-data")
    path = generated_rows(recipe.seed, split="train", rows=GENERATED_ROWS)
    return curated(settled(recipe, "data", train=[SourceConfig(path=str(path), format="messages")]), emit=emit)


def generated_rows(seed: int, *, split: str, rows: int) -> Path:
    """A file of the embedded world's instruction rows, written once into the cache."""
    from tunesmith.models.seedling import instruction_set

    path = cache_folder() / "seedling" / f"{split}-{rows}-seed{seed}.jsonl"
    if not path.is_file():
        made = instruction_set("all", seed=seed, split=split, n=rows)
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made))
    return path


def prompts_of(session: Session, prepared: tokens.Prepared) -> list[Prompt]:
    """Held-out rows as prompts with references: a seeded choice of ``evaluate.prompts`` of them."""
    wanted = session.recipe.evaluate.prompts
    if wanted == 0 or session.recipe.objective.name == "pretrain" or session.parts.objective.judged != "tokens":
        return []
    return choose(prepared.validation_records, session.encoder, wanted, seed=session.recipe.seed)


def raw_rows(path: str, *, code: str, unit: str = "text") -> list[Any]:
    """The rows of a file as they are; one that cannot be read is a ``UserError`` of ``code`` with its line."""
    found = []
    for row in open_source(path, unit=unit).rows():
        if isinstance(row.value, Broken):
            raise UserError(f"{row.file} line {row.line}: {row.value.reason}", code=code)
        found.append(row.value)
    return found


def encoded(session: Session, records: Sequence[Record], *, trouble: str, code: str) -> list[Example]:
    """``records`` as the session's objective reads them, texts cut to length; ``Example.row`` is the record's number.

    ``trouble`` is what is said of a record that cannot be read, with ``{number}`` from 1 and ``{why}`` in it.
    """
    examples = []
    for number, record in enumerate(records):
        try:
            encodings = session.parts.objective.encode(record, session.encoder)
        except BadRow as bad:
            raise UserError(trouble.format(number=number + 1, why=bad), code=code) from bad
        fitted = fit(encodings, max_tokens=session.recipe.data.max_tokens, overlong="cut")
        examples += [example_of(one, number) for one in fitted.encodings]
    return examples


def choose(records: Sequence[Record], encoder: ChatEncoder, count: int, *, seed: int) -> list[Prompt]:
    """At most ``count`` records that end in an answer, drawn by ``seed``, as prompts."""
    import random

    order = random.Random(derive(seed, "prompts")).sample(range(len(records)), len(records))
    found: list[Prompt] = []
    for index in order:
        prompt = encoder.prompt(records[index])
        if prompt is not None:
            found.append(prompt)
        if len(found) == count:
            break
    return found
