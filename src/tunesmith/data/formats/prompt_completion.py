"""Prompt and completion: two texts joined as they are, or two lists of messages joined as a conversation.

Texts carry no template of their own (``raw_prompt``): the blank between prompt and completion is the user's. A recipe
that names a template gets it applied; then the prompt is one user turn and the completion its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunesmith.contracts.data import Message, Record
from tunesmith.data.formats import messages
from tunesmith.data.formats.base import BadRow, Format, Row, has_columns, rest, text_of
from tunesmith.data.formats.writing import holds, turn_row

COLUMNS = {
    "prompt": "the text to go on from, or a list of messages",
    "completion": "how it goes on, or a list of messages",
}


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with a prompt and a completion."""
    return "the rows have the columns 'prompt' and 'completion'" if has_columns(rows, *COLUMNS) else None


def read(row: Row) -> Record:
    """Two turns, or the joined conversation."""
    meta = rest(row, *COLUMNS, "tools")
    if isinstance(row.get("prompt"), list):
        asked = [*row["prompt"], *messages.answer_turns(row.get("completion"))]
        return messages.read({"messages": asked, "tools": row.get("tools"), **meta})
    prompt, completion = text_of(row, "prompt"), text_of(row, "completion")
    turns = (Message("user", prompt), Message("assistant", completion))
    return Record(messages=turns, raw_prompt=True, meta=meta)


def write(record: Record) -> dict[str, Any]:
    """Two texts where they are joined as they are, else the conversation before its last answer, and that."""
    holds(record, "messages", "tools")
    *before, last = record.messages or ()
    if last.role != "assistant":
        raise BadRow("the conversation does not end with an answer")
    if record.raw_prompt:
        return {"prompt": "".join(message.content for message in before), "completion": last.content}
    tools = {"tools": list(record.tools)} if record.tools else {}
    return {"prompt": [turn_row(message) for message in before], "completion": [turn_row(last)], **tools}


SAMPLES: tuple[Row, ...] = (
    {"prompt": "2 + 2 =", "completion": " 4"},
    {"prompt": [{"role": "user", "content": "2 + 2?"}], "completion": [{"role": "assistant", "content": "4"}]},
)
FORMAT = Format(
    "prompt-completion", "prompt and completion, joined as they are", COLUMNS, recognise, read, write, SAMPLES
)
