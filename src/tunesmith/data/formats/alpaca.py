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
from tunesmith.data.formats.writing import holds

COLUMNS = {
    "instruction": "what is asked",
    "input": "what it is asked about (may be missing)",
    "output": "the answer",
    "reasoning": "what was thought before the answer (may be missing)",
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
    thought = text_of(row, "reasoning", required=False)
    messages.append(Message("assistant", output, {"reasoning_content": thought} if thought else {}))
    rated = [row.get(name) for name in RATED]
    if not all(isinstance(answer, str) for answer in rated):
        return conversation(messages, tools=None, meta=rest(row, *COLUMNS))
    record = conversation(messages, tools=None, meta=rest(row, *COLUMNS, *RATED))
    return replace(record, candidates=tuple(Candidate((Message("assistant", str(answer)),)) for answer in rated))


def write(record: Record) -> dict[str, Any]:
    """The last question and its answer, with the turns before them as history."""
    holds(record, "messages", "candidates")
    messages = list(record.messages or ())
    if record.raw_prompt:
        raise BadRow("prompt and completion are joined as they are, and a conversation gets a template")
    system = messages.pop(0).content if messages and messages[0].role == "system" else ""
    if [message.role for message in messages] != ["user", "assistant"] * (len(messages) // 2):
        raise BadRow("questions and answers do not take turns")
    *before, question, answer = messages
    row: dict[str, Any] = {
        "instruction": question.extra.get("instruction", question.content),
        "input": question.extra.get("input", ""),
        "output": answer.content,
        "reasoning": answer.extra.get("reasoning_content", ""),
        "system": system,
        "history": [[asked.content, said.content] for asked, said in zip(before[::2], before[1::2], strict=True)],
    }
    rated = dict(zip(RATED, (one.messages[0].content for one in record.candidates), strict=False))
    return {name: value for name, value in (row | rated).items() if value or name in ("input", "output")}


def _pairs(history: Any) -> list[tuple[str, str]]:
    if not history:
        return []
    if not isinstance(history, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
        for pair in history
    ):
        raise BadRow("column 'history' is not a list of [question, answer] pairs")
    return [(pair[0], pair[1]) for pair in history]


_PLAIN = {"instruction": "Name a color.", "input": "", "output": "Blue."}
SAMPLES: tuple[Row, ...] = (
    _PLAIN,
    {"instruction": "Translate to French.", "input": "Good day", "output": "Bonjour"},
    {**_PLAIN, "system": "Be brief.", "history": [["Hello", "Hello!"]]},
    {**_PLAIN, "reasoning": "Blue is a color."},
    {**_PLAIN, "chosen": "Blue.", "rejected": "Seven."},
)
FORMAT = Format("alpaca", "instruction, optional input, output", COLUMNS, recognise, read, write, SAMPLES)
