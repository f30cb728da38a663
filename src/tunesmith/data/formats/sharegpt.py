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
    rest,
    role_of,
    text_of,
)
from tunesmith.data.formats.tools import check_calls, parsed_tools
from tunesmith.data.formats.writing import holds

COLUMNS = {
    "conversations": "list of {from, value}, in order",
    "system": "system prompt (may be missing)",
    "tools": "tool descriptions (may be missing)",
    "answer": "the answer, where turns end with a question: text or {from, value} (may be missing)",
}


NAMES = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system"}


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
    tools = parsed_tools(row.get("tools"))
    check_calls(messages, tools)
    return conversation(messages, tools=tools, meta=rest(row, *known))


def write(record: Record) -> dict[str, Any]:
    """The conversation as turns; its system prompt in a column."""
    holds(record, "messages", "tools")
    if record.raw_prompt:
        raise BadRow("prompt and completion are joined as they are, and a conversation gets a template")
    messages = list(record.messages or ())
    system = messages.pop(0).content if messages and messages[0].role == "system" else ""
    row: dict[str, Any] = {"conversations": [_turn(message) for message in messages]}
    return {**row, **({"system": system} if system else {}), **({"tools": list(record.tools)} if record.tools else {})}


def _turn(message: Message) -> dict[str, Any]:
    calls = message.extra.get("tool_calls") or ()
    if len(calls) > 1 or (calls and message.content):
        raise BadRow("a turn calls several tools, or speaks besides, and ShareGPT has a turn for one call")
    if calls:
        function = calls[0]["function"]
        return {"from": "function_call", "value": json.dumps(dict(function), ensure_ascii=False)}
    return {"from": NAMES[message.role], "value": message.content}


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


_ASKED, _SAID = {"from": "human", "value": "Is it late?"}, {"from": "gpt", "value": "It is noon."}
_CALL = {"from": "function_call", "value": '{"name": "now", "arguments": {"zone": "UTC"}}'}
SAMPLES: tuple[Row, ...] = (
    {"conversations": [_ASKED, _SAID]},
    {"conversations": [_ASKED, _SAID, _ASKED, _SAID], "system": "Be brief."},
    {
        "conversations": [_ASKED, _CALL, {"from": "observation", "value": "12:00"}, _SAID],
        "tools": [{"name": "now", "parameters": {"type": "object"}}],
    },
)
FORMAT = Format("sharegpt", "ShareGPT conversations of {from, value}", COLUMNS, recognise, read, write, SAMPLES)
