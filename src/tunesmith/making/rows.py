"""What is made, as rows that ``tunesmith train`` reads: conversations (or prompt and completion), and pairs of answers.

A row keeps the further columns of its parent (``answer``, ``tests``, ``difficulty`` …), but for those by which another
format would be recognised.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from tunesmith.contracts.data import Message, Record
from tunesmith.data.candidates import asked
from tunesmith.data.convert import converted
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import Format
from tunesmith.making.base import Parent

Row = dict[str, Any]
KEPT = frozenset({"answer", "reference", "solution", "target"})
"""Columns of right answers, which rewards read."""
RATED = frozenset({"score_chosen", "score_rejected", "chosen_score", "rejected_score", "made"})


def sft_row(record: Record, answer: str, made: Mapping[str, Any]) -> Row:
    """The conversation of ``record`` with ``answer`` at its end."""
    if record.raw_prompt:
        text = "".join(message.content for message in asked(record))
        return {"prompt": text, "completion": answer, **_further(record), "made": dict(made)}
    turns = [*asked(record), Message("assistant", answer)]
    return {"messages": [_turn(one) for one in turns], **_further(record), "made": dict(made)}


def pair_row(record: Record, chosen: str, rejected: str, made: Mapping[str, Any]) -> Row:
    """Two answers to the conversation of ``record``, the better one first."""
    question: Any = [_turn(one) for one in asked(record)]
    if record.raw_prompt:
        question = "".join(message.content for message in asked(record))
    return {"prompt": question, "chosen": chosen, "rejected": rejected, **_further(record), "made": dict(made)}


def same_row(parent: Parent, record: Record, made: Mapping[str, Any]) -> Row:
    """``record``, which was made from ``parent``, as a row of the parent's format; ``BadRow`` where it is none."""
    form = parent.form if parent.form is not None and parent.form.write is not None else None
    row = converted(record, form or _usual(record))
    return {**{name: value for name, value in row.items() if name != "made"}, "made": dict(made)}


def _usual(record: Record) -> Format:
    """The format of a record whose own is of files, or not known."""
    form: Format = FORMATS.load("text" if record.text is not None else "messages")
    return form


def _turn(message: Message) -> Row:
    # `instruction` and `input` of a message repeat its content in another form
    extra = {key: value for key, value in message.extra.items() if key not in ("instruction", "input")}
    return {"role": message.role, "content": message.content, **extra}


def _further(record: Record) -> Row:
    tools = {"tools": [dict(tool) for tool in record.tools]} if record.tools else {}
    return {**{name: value for name, value in record.meta.items() if name not in _columns()}, **tools}


@cache
def _columns() -> frozenset[str]:
    """Columns that decide a row's format."""
    return frozenset(column for name in FORMATS for column in FORMATS.load(name).columns) - KEPT | RATED
