"""Alpaca: one instruction, perhaps an input it works on, one output.

``history`` (pairs of earlier questions and answers) and ``system`` are read where they are there. The instruction and
the input stay apart in ``Message.extra`` for templates that show them apart (``plain``); other templates see
``instruction\\ninput``. Columns ``chosen`` and ``rejected`` beside an output are two rated answers: objectives that
compare read those, objectives that imitate read the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tunesmith.contracts.data import Candidate, Message, Record
from tunesmith.data.formats.base import BadRow, Format, Row, conversation, has_columns, rest, text_of

COLUMNS = {
    "instruction": "what is asked",
    "input": "what it is asked about (may be missing)",
    "output": "the answer",
    "system": "system prompt (may be missing)",
    "history": "earlier [question, answer] pairs (may be missing)",
}
RATED = ("chosen", "rejected")


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with an instruction and an output."""
    if not has_columns(rows, "instruction", "output"):
        return None
    extra = " and 'input'" if any("input" in row for row in rows) else ""
    return f"the rows have the columns 'instruction' and 'output'{extra}"


def read(row: Row) -> Record:
    """One question (after its history) and one answer."""
    instruction = text_of(row, "instruction")
    given = text_of(row, "input", required=False)
    output = text_of(row, "output")
    system = text_of(row, "system", required=False)
    messages = [Message("system", system)] if system else []
    for question, answer in _pairs(row.get("history")):
        messages += [Message("user", question), Message("assistant", answer)]
    content = f"{instruction}\n{given}" if given.strip() else instruction
    messages.append(Message("user", content, {"instruction": instruction, "input": given}))
    messages.append(Message("assistant", output))
    record = conversation(messages, tools=None, meta=rest(row, *COLUMNS))
    rated = [row.get(name) for name in RATED]
    if not all(isinstance(answer, str) for answer in rated):
        return record
    return replace(record, candidates=tuple(Candidate((Message("assistant", str(answer)),)) for answer in rated))


def _pairs(history: Any) -> list[tuple[str, str]]:
    if not history:
        return []
    if not isinstance(history, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
        for pair in history
    ):
        raise BadRow("column 'history' is not a list of [question, answer] pairs")
    return [(pair[0], pair[1]) for pair in history]


FORMAT = Format("alpaca", "instruction, optional input, output", COLUMNS, recognise, read)
