"""Looking inside a run: its model on both sides, a prompt and rows to look with; results are kept in ``insight/``."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Message
from tunesmith.errors import UserError
from tunesmith.insight import LOOKS
from tunesmith.insight.subject import Subject
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.quantized.model import dequantize_model
from tunesmith.run.folder import Run
from tunesmith.run.judge import generator
from tunesmith.run.resolve import settled
from tunesmith.run.rows import prepare_with
from tunesmith.run.session import Language, Session, load_base
from tunesmith.run.use import joined_rows, open_run
from tunesmith.seed import derive

FOLDER = "insight"
MOST_ROWS = 128
"""Training rows whose gradients are compared with an answer's."""
ROWS = 64


def inspect(
    run: str | Path | Run,
    what: str,
    *,
    prompt: str | None = None,
    answer: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Take one look (a name of ``insight.LOOKS``), write it to ``insight/WHAT.json`` and return it.

    ``prompt`` is asked as the run's rows were; by default it is the first held-out question. ``answer`` is the text to
    look at after it; by default what the tuned model says. Raises ``UserError``: ``unknown-look``, ``cannot-inspect``,
    and as opening a run does.
    """
    look = LOOKS.load(what)
    run = (run if isinstance(run, Run) else Run.open(run)).last_stage
    found = {"look": what, **look(subject_of(run, prompt=prompt, answer=answer, rows=what == "influence"), tell=tell)}
    run.write(f"{FOLDER}/{what}.json", found)
    return found


def subject_of(run: Run, *, prompt: str | None, answer: str | None, rows: bool) -> Subject:
    """The run's model with what to look at; training rows only where ``rows`` are asked for."""
    session = open_run(run, dtype="float32")
    if session.task is not None:
        raise UserError(
            "looks need a model that writes text",
            got=f"objective {run.recipe.objective.name}, whose model has a task head",
            allowed="runs of language models",
            code="cannot-inspect",
        )
    prepared = prepare_with(run.recipe, session.encoder)
    held = [prepared.validation[place] for place in range(min(ROWS, len(prepared.validation)))]
    store = prepared.train
    drawn = random.Random(derive(run.recipe.seed, "inspect"))
    chosen = sorted(drawn.sample(range(len(store)), min(MOST_ROWS, len(store)))) if rows else []
    asked = _prompt_ids(run, session, prompt)
    lines = dict(zip(store.rows.tolist(), store.lines.tolist(), strict=True))
    sources = [source.path for source in prepared.job.sources]

    def where(example: Example) -> str:
        return f"{sources[example.source]} line {lines.get(example.row, 0)}"

    whole = session.attached.artifact == "model"
    return Subject(
        policy=session.policy,
        attached=session.attached,
        decode=lambda ids: session.encoder.decode(ids, special=True),
        prompt=asked,
        answer=_answer_ids(session, asked, answer),
        examples=held or [store[place] for place in range(min(ROWS, len(store)))],
        training=[store[place] for place in chosen],
        where=where,
        base=(lambda: _base(run)) if whole else None,
        plain=lambda: _plain(run, session),
    )


def _prompt_ids(run: Run, session: Session, prompt: str | None) -> list[int]:
    encoder = session.encoder
    if prompt is not None:
        return list(encoder.prompt_ids([Message("user", prompt)], raw=joined_rows(run)))
    answers = run.read("eval/after.json").get("answers") or []
    if answers:
        return list(session.tokenizer(answers[0]["prompt"], add_special_tokens=False)["input_ids"])
    raise UserError(
        "the run was asked nothing that could be looked at",
        hint="Give a question with --prompt.",
        code="cannot-inspect",
    )


def _answer_ids(session: Session, prompt: list[int], answer: str | None) -> list[int]:
    if answer is not None:
        return list(session.tokenizer(answer, add_special_tokens=False)["input_ids"])
    (found,) = generator(session, max_new_tokens=32).generate([prompt])
    return list(found.ids)


def _base(run: Run) -> CausalPolicy:
    """The model that training began with."""
    recipe = settled(run.recipe, "model", dtype="float32")
    model = load_base(recipe, Language.of(recipe)).model.float()
    return CausalPolicy(model, recipe.model.driver if recipe.model.driver != "auto" else "padded")


def _plain(run: Run, session: Session) -> tuple[nn.Module, nn.Module]:
    """Base and tuned model as plain transformers models in float32."""
    base = _base(run).model
    merged = session.model if session.attached.artifact == "model" else dequantize_model(session.attached.merge())
    return base, merged
