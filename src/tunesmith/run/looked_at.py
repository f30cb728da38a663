"""What one looks at a model with: a question and an answer for one that writes, a row with its labels for a task head.

By default it is the first held-out one, so that every look at a run works without a word of one's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Message, Record
from tunesmith.contracts.objective import TaskHead
from tunesmith.errors import UserError
from tunesmith.insight.subject import Asked, example_of, texts_of
from tunesmith.run.folder import Run
from tunesmith.run.judge import generator
from tunesmith.run.predict import predictions
from tunesmith.run.predict import texts_of as words_of
from tunesmith.run.rows import encoded
from tunesmith.run.session import Session
from tunesmith.run.use import joined_rows

LABELLED = ("class", "classes", "number")
"""Tasks of which a text of one's own can be looked at."""


def written(run: Run, session: Session, held: Sequence[Example], prompt: str | None, answer: str | None) -> Asked:
    """A question and what is said to it: ``prompt`` and ``answer``, or the first held-out one and what is generated."""
    asked = _prompt_ids(run, session, held, prompt)
    if answer is None:
        (found,) = generator(session, max_new_tokens=32).generate([asked])
        ids = list(found.ids)
    else:
        ids = list(session.tokenizer(answer, add_special_tokens=False)["input_ids"])
    return Asked(asked, ids, example_of(asked, ids), session.encoder.decode(ids, special=True))


def labelled(session: Session, held: Sequence[Example], prompt: str | None, answer: str | None) -> Asked:
    """A text and the label to look at: by default what is said of ``prompt``, or the first held-out row's own."""
    task = session.task
    assert task is not None
    if prompt is None and answer is not None:
        raise UserError("--answer is a label of the text that --prompt gives, and there is none", code="cannot-inspect")
    example = held[0] if prompt is None else _labelled(session, task, prompt, answer)
    said = session.parts.objective.words(example) or ("the better answer" if example.branches else "what the row says")
    return Asked(texts_of(example)[0], (), example, said)


def _prompt_ids(run: Run, session: Session, held: Sequence[Example], prompt: str | None) -> list[int]:
    encoder = session.encoder
    if prompt is not None:
        return list(encoder.prompt_ids([Message("user", prompt)], raw=joined_rows(run)))
    answers = run.read("eval/after.json").get("answers") or []
    if answers:
        return list(session.tokenizer(answers[0]["prompt"], add_special_tokens=False)["input_ids"])
    for example in held:
        first = example.branches[0] if example.branches else _first_target(example)
        if first > 0:
            return list(example.ids[:first].tolist())
    raise UserError(
        "the run was asked nothing that could be looked at",
        hint="Give a question with --prompt.",
        code="cannot-inspect",
    )


def _first_target(example: Example) -> int:
    """Where the answer begins; the length of a row that is all question, 0 of one that is all answer."""
    return int(example.trained.argmax()) if example.trained.any() else len(example)


def _labelled(session: Session, task: TaskHead, prompt: str, answer: str | None) -> Example:
    if task.problem not in LABELLED:
        raise UserError(
            f"the objective {session.recipe.objective.name} reads more of a row than a text",
            hint="Leave --prompt out: the first held-out row is looked at.",
            code="cannot-inspect",
        )
    if task.problem == "number" and answer is None:
        raise UserError(
            "of a number that is said one can only look at what would make it another",
            hint="Give the number it should be with --answer.",
            code="cannot-inspect",
        )
    labels = (answer,) if answer is not None else _said(predictions(session, [prompt])[0])
    record: Record = replace(words_of(prompt), labels=labels)
    trouble = "the text cannot be looked at with this label: {why}"
    (example,) = encoded(session, [record], trouble=trouble, code="cannot-inspect")
    return example


def _said(found: dict[str, Any]) -> tuple[str, ...]:
    """The labels of a prediction, as rows have them."""
    return tuple(found["labels"]) if "labels" in found else (found["label"],)
