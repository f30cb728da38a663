"""Looking inside a run: its model on both sides, a prompt and rows to look with; results are kept in ``insight/``."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from tunesmith.contracts.batch import Example
from tunesmith.errors import UserError
from tunesmith.insight import LOOKS
from tunesmith.insight.subject import Asked, Subject
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.quantized.model import dequantize_model
from tunesmith.run.folder import Run
from tunesmith.run.looked_at import labelled, written
from tunesmith.run.resolve import settled
from tunesmith.run.rows import prepare_with
from tunesmith.run.session import Language, Session, load_base
from tunesmith.run.use import open_run
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
    look at after it, or the label to look at; by default what the tuned model says (of a held-out row with labels:
    its own). Raises ``UserError``: ``unknown-look``, ``cannot-inspect``, and as opening a run does.
    """
    look = LOOKS.load(what)
    run = (run if isinstance(run, Run) else Run.open(run)).last_stage
    found = {"look": what, **look(subject_of(run, prompt=prompt, answer=answer, rows=what == "influence"), tell=tell)}
    run.write(f"{FOLDER}/{what}.json", found)
    return found


def subject_of(run: Run, *, prompt: str | None, answer: str | None, rows: bool) -> Subject:
    """The run's model with what to look at; training rows only where ``rows`` are asked for."""
    session = open_run(run, dtype="float32")
    prepared = prepare_with(run.recipe, session.encoder)
    store = prepared.train
    held = [prepared.validation[place] for place in range(min(ROWS, len(prepared.validation)))]
    held = held or [store[place] for place in range(min(ROWS, len(store)))]
    drawn = random.Random(derive(run.recipe.seed, "inspect"))
    chosen = sorted(drawn.sample(range(len(store)), min(MOST_ROWS, len(store)))) if rows else []
    lines = dict(zip(store.rows.tolist(), store.lines.tolist(), strict=True))
    sources = [source.path for source in prepared.job.sources]

    def where(example: Example) -> str:
        return f"{sources[example.source]} line {lines.get(example.row, 0)}"

    def ask() -> Asked:
        if session.task is not None:
            return labelled(session, held, prompt, answer)
        return written(run, session, held, prompt, answer)

    whole = session.attached.artifact == "model"
    return Subject(
        policy=session.policy,
        attached=session.attached,
        objective=session.parts.objective,
        decode=lambda ids: session.encoder.decode(ids, special=True),
        ask=ask,
        examples=held,
        training=[store[place] for place in chosen],
        where=where,
        base=(lambda: _base(run)) if whole else None,
        plain=lambda: _plain(run, session),
    )


def _base(run: Run) -> CausalPolicy:
    """The model that training began with."""
    recipe = settled(run.recipe, "model", dtype="float32")
    model = load_base(recipe, Language.of(recipe)).model.float()
    return CausalPolicy(model, recipe.model.driver if recipe.model.driver != "auto" else "padded")


def _plain(run: Run, session: Session) -> tuple[nn.Module, nn.Module]:
    """Base and tuned model as plain transformers models in float32."""
    base = _base(run).model
    if session.attached.artifact == "model":
        return base, session.model
    try:
        return base, dequantize_model(session.attached.merge())
    except UserError as error:
        raise UserError(f"there is no change of weights to look at: {error.what}", code="cannot-inspect") from error
