"""``tunesmith predict``: what a model with a task head says of texts it has not seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.contracts.data import Record
from tunesmith.contracts.objective import TaskHead
from tunesmith.data.formats.base import BadRow, text_of
from tunesmith.data.formats.labelled import NAMES
from tunesmith.errors import UserError
from tunesmith.evaluation.spans import best_answer
from tunesmith.evaluation.task import SURE, Scored, number_said, score, sigmoid, softmax
from tunesmith.run.embedding import vectors
from tunesmith.run.folder import Run
from tunesmith.run.rows import encoded, raw_rows
from tunesmith.run.session import Session
from tunesmith.run.use import open_run

Asked = str | tuple[str, str] | Mapping[str, Any]
"""A text, a pair of texts (question and context for answers), or a row with such columns."""


def predict(run: Run | str | Path, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """What the model of ``run`` says of each of ``asked``, in their order (see ``predictions``)."""
    return predictions(open_run(run), asked)


def predictions(session: Session, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """One dictionary for each of ``asked``:

    ``{label, probability, probabilities}``; for several labels a text ``{labels, probabilities}``; for numbers
    ``{value}``; for embeddings ``{vector}``; for words ``{words: [{word, label, probability}]}``; for answers
    ``{answer, start, end, score}``, where ``score`` is how far the answer is above no answer; for several tasks
    ``{tasks: {name: the same of it}}``. Texts above ``data.max_tokens`` are cut (contexts are not).
    """
    task = session.task
    if task is None:
        raise UserError(
            "this run has no task head, so it has no labels to predict",
            got=f"objective {session.recipe.objective.name}",
            hint="`tunesmith chat` talks to it.",
            code="no-task-head",
        )
    if task.problem == "reward":
        raise UserError(
            "a reward model scores answers to questions and has no labels to predict",
            hint="`tunesmith eval RUN` measures it; the reward `model` learns from it (`tunesmith rewards model`).",
            code="no-task-head",
        )
    if task.problem == "embedding":
        texts = [texts_of(one).text or "" for one in asked]
        return [{"vector": vector.tolist()} for vector in vectors(session, texts)]
    records = [_record(session, task, one) for one in asked]
    examples = encoded(session, records, trouble="text {number} cannot be read: {why}", code="bad-text")
    tokens = int(session.recipe.train.tokens_per_microbatch)
    scored: dict[int, list[Scored]] = {}
    results = score(session.policy, session.parts.objective, examples, tokens_per_microbatch=tokens)
    for example, result in zip(examples, results, strict=True):
        scored.setdefault(example.row, []).append(result)
    return [_said(session, task, record, scored[number]) for number, record in enumerate(records)]


def _said(session: Session, task: TaskHead, record: Record, scored: Sequence[Scored]) -> dict[str, Any]:
    if task.problem == "span":
        return _answer(session, record, scored)
    if task.problem == "tokens":
        return {"words": list(_labelled_words(task.labels, record, scored[0]))}
    if task.problem == "tasks":
        parts = {name: replace(scored[0], scores=scored[0].scores[:, at]) for name, at in task.places().items()}
        return {"tasks": {name: _OF_A_TEXT[one.problem](one, parts[name]) for name, one in task.tasks.items()}}
    return _OF_A_TEXT[task.problem](task, scored[0])


def asked_of(path: str) -> list[dict[str, Any]]:
    """The rows of a file to predict: lines of a txt file, or rows with the columns of labelled text."""
    return raw_rows(path, code="bad-text", unit="lines")


def _record(session: Session, task: TaskHead, asked: Asked) -> Record:
    """A row with labels that stand for those that are not known."""
    record = texts_of(asked)
    words = [match.span() for match in re.finditer(r"\S+", record.text or "")]
    if task.problem == "tokens":
        return replace(record, labels=(task.labels[0],) * len(words), spans=tuple(words))
    if task.problem == "span":
        if record.pair is None:
            raise UserError(
                "an answer needs a question and a context",
                got="one text",
                hint="Give the context with --pair, or a file with the columns question and context.",
                code="bad-text",
            )
        return replace(record, text=record.pair, pair=record.text, labels=(), spans=((0, 1),))
    if task.problem == "tasks":
        objective: Any = session.parts.objective
        known: Record = objective.asked(record)
        return known
    return replace(record, labels={"class": task.labels[:1], "classes": (), "number": ("0",)}[task.problem])


def texts_of(asked: Asked) -> Record:
    """The text, and what stands beside it, of one thing asked; columns that are neither (a label) are left out."""
    if isinstance(asked, str):
        return Record(text=asked)
    if isinstance(asked, tuple):
        return Record(text=asked[0], pair=asked[1])
    names = {"text": ("question", *NAMES["text"]), "pair": ("context", *NAMES["pair"])}
    found = {what: next((name for name in some if asked.get(name) is not None), None) for what, some in names.items()}
    try:
        text = text_of(asked, found["text"] or "text")
        return Record(text=text, pair=text_of(asked, found["pair"]) if found["pair"] else None)
    except BadRow as bad:
        raise UserError(f"a row cannot be read: {bad}", code="bad-text") from bad


def _class(task: TaskHead, scored: Scored) -> dict[str, Any]:
    named = dict(zip(task.labels, softmax(scored.scores[0]).tolist(), strict=True))
    label = max(named, key=lambda name: named[name])
    return {"label": label, "probability": named[label], "probabilities": named}


def _classes(task: TaskHead, scored: Scored) -> dict[str, Any]:
    named = dict(zip(task.labels, sigmoid(scored.scores[0]).tolist(), strict=True))
    return {"labels": [name for name, sure in named.items() if sure >= SURE], "probabilities": named}


def _number(task: TaskHead, scored: Scored) -> dict[str, Any]:
    return {"value": number_said(task, scored)}


_OF_A_TEXT: Mapping[str, Callable[[TaskHead, Scored], dict[str, Any]]] = {
    "class": _class,
    "classes": _classes,
    "number": _number,
}


def _labelled_words(names: Sequence[str], record: Record, scored: Scored) -> Iterator[dict[str, Any]]:
    for (left, right), sure in zip(record.spans, softmax(scored.scores), strict=False):  # a cut text has fewer
        best = int(np.argmax(sure))
        yield {"word": (record.text or "")[left:right], "label": names[best], "probability": float(sure[best])}


def _answer(session: Session, record: Record, scored: Sequence[Scored]) -> dict[str, Any]:
    objective: Any = session.parts.objective
    found = best_answer(
        objective.windows(record, session.encoder),
        [one.scores for one in scored],
        longest=objective.longest_answer,
        unanswerable=objective.unanswerable,
    )
    text = (record.text or "")[found.left : found.right]
    left = found.left + len(text) - len(text.lstrip())
    return {"answer": text.strip(), "start": left, "end": left + len(text.strip()), "score": found.score}
