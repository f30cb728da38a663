"""The frozen models beside the trained one, as far as the objective names them (``contracts.objective.beside``)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.policy import Want
from tunesmith.engine.beside import Live, LogprobStore, Reference
from tunesmith.engine.loop import Beside
from tunesmith.evaluation.loss import microbatches
from tunesmith.events import Event, Sink, silent
from tunesmith.run.reachable import check_teacher
from tunesmith.run.session import Session, cache_folder


def beside_of(session: Session, examples: Iterable[Example], *, emit: Sink = silent) -> dict[str, Beside]:
    """A function for each model that the session's objective wants beside its own; made before anything is trained.

    ``examples`` are all that training and evaluation will ask about, read only where they must be asked about now.
    """
    makers: Mapping[str, Callable[[Session, Want, Iterable[Example], Sink], Beside]] = {
        "reference": _reference,
        "teacher": _teacher,
    }
    return {name: makers[name](session, want, examples, emit) for name, want in session.parts.objective.beside.items()}


def _reference(session: Session, want: Want, examples: Iterable[Example], emit: Sink) -> Beside:
    """The model as training found it: the adapter switched off, what is stored of it, or a copy of it."""
    original: Callable[[], AbstractContextManager[None]] | None = session.attached.off
    policy, objective = session.policy, session.parts.objective
    # answers sampled in training never come again, nor do rows that are put together anew in every update
    live = objective.samples or not objective.decomposes or want != Want(logprob=True)
    how = "the model with its adapter switched off"
    if session.attached.artifact == "model":
        if live:
            policy, original = copy.deepcopy(session.policy), nullcontext
            how = "a copy of the model as it is now, which takes the memory of its weights"
        else:
            original, how = None, "the model as it is now, asked once about every row before training"
    emit(Event("note", 0, {"text": f"the reference is {how}"}))
    if live:
        assert original is not None
        return Live(policy, want, original)
    store = LogprobStore(_folder(session))
    if original is None:
        emit(Event("phase", 0, {"text": "asking the reference about every row"}))
        asked = Reference(policy, store).ask(_batches(session, examples))
        emit(Event("note", 0, {"text": f"the reference's log-probabilities of {asked:,} rows are new, others known"}))
    elif len(store):
        emit(Event("note", 0, {"text": f"the reference's log-probabilities of {len(store):,} rows are known"}))
    return Reference(policy, store, original)


def _teacher(session: Session, want: Want, _: Iterable[Example], emit: Sink) -> Beside:
    """The model that the objective names, asked anew about every batch."""
    from tunesmith.run.use import open_any

    objective: Any = session.parts.objective
    name: str = objective.teacher
    check_teacher(name, session.recipe)
    teacher = open_any(name, max_tokens=session.recipe.data.max_tokens, dtype=session.recipe.model.dtype)
    count = sum(parameter.numel() for parameter in teacher.model.parameters())
    emit(Event("note", 0, {"text": f"the teacher is {name}, {count:,} parameters, with the student's own vocabulary"}))
    return Live(teacher.policy.to(session.device), want, nullcontext)


def _folder(session: Session) -> Path:
    recipe = session.recipe
    name = f"{(session.start_key or '')[:32]}-{recipe.model.dtype}-{recipe.model.quantize}"
    return cache_folder() / "reference" / name


def _batches(session: Session, examples: Iterable[Example]) -> Iterator[tuple[Sequence[Example], Batch]]:
    held = list(examples)
    tokens = int(session.recipe.train.tokens_per_microbatch)
    for numbers in microbatches([len(example) for example in held], tokens):
        piece = [held[number] for number in numbers]
        yield piece, session.parts.objective.collate(piece).to(session.policy.device)
