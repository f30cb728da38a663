"""ShareGPT: ``conversations`` of ``{from, value}``.

``function_call`` turns are assistant turns whose value is the call as JSON; ``observation`` is a tool's result.
``answer`` is the last assistant turn where the turns end with a question (preference rows keep it in a column of its
own, such as ``chosen``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.contracts.data import Message, Record
from tunesmith.data.formats.base import (
    BadRow,
    Format,
    Row,
    answered,
    content_text,
    conversation,
    parsed_tools,
    rest,
    role_of,
    text_of,
)

COLUMNS = {
    "conversations": "list of {from, value}, in order",
    "system": "system prompt (may be missing)",
    "tools": "tool descriptions (may be missing)",
    "answer": "the answer, where turns end with a question: text or {from, value} (may be missing)",
}


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows whose ``conversations`` are objects with ``from`` and ``value``."""

    def fits(row: Row) -> bool:
        turns = row.get("conversations")
        return isinstance(turns, list) and bool(turns) and isinstance(turns[0], Mapping) and "from" in turns[0]

    found = bool(rows) and sum(map(fits, rows)) * 2 > len(rows)
    return "column 'conversations' holds lists of {from, value}" if found else None


def read(row: Row) -> Record:
    """The conversation, its tools, and what else the row holds."""
    turns = row.get("conversations")
    if turns is None:
        raise BadRow("column 'conversations' is missing")
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise BadRow("column 'conversations' is not a list of turns")
    answer, known = row.get("answer"), tuple(COLUMNS)
    if turns and isinstance(turns[-1], Mapping) and answered(turns[-1].get("from")):
        known = tuple(name for name in COLUMNS if name != "answer")
    elif answer is not None:
        turns = [*turns, {"from": "gpt", "value": answer} if isinstance(answer, str) else answer]
    system = text_of(row, "system", required=False)
    messages = [Message("system", system)] if system else []
    messages += [message_of(turn) for turn in turns]
    return conversation(messages, tools=parsed_tools(row.get("tools")), meta=rest(row, *known))


def message_of(turn: Any) -> Message:
    """A turn ``{from, value}``; a function call as its own."""
    if not isinstance(turn, Mapping):
        raise BadRow("a turn is not an object with 'from' and 'value'")
    role = role_of(turn.get("from"))
    value = content_text(turn.get("value"))
    if turn.get("from") != "function_call":
        return Message(role, value)
    try:
        call = json.loads(value)
    except json.JSONDecodeError:
        raise BadRow("a function call is not JSON") from None
    if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
        raise BadRow("a tool call has no function name")
    function = {"name": call["name"], "arguments": call.get("arguments", {})}
    return Message(role, "", {"tool_calls": [{"type": "function", "function": function}]})


FORMAT = Format("sharegpt", "ShareGPT conversations of {from, value}", COLUMNS, recognise, read)
