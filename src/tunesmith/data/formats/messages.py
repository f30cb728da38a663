"""OpenAI messages: a list of ``{role, content}``, with tools and tool calls.

Arguments of a tool call, which the OpenAI format writes as a JSON string, become objects: templates write them out as
JSON themselves. ``answer`` is the last assistant turn where the messages end with a question (preference rows keep it
in a column of its own); where they end with an answer it is a column like any other.
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
)

COLUMNS = {
    "messages": "list of {role, content}, in order",
    "tools": "tool descriptions (may be missing)",
    "answer": "the answer, where messages end with a question: text, a message, or a list of them (may be missing)",
}
CARRIED = ("name", "tool_call_id", "reasoning_content", "thinking")


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows whose ``messages`` are objects with a role and content."""
    return "column 'messages' holds lists of {role, content}" if _fitting(rows, "messages", "role") else None


def read(row: Row) -> Record:
    """The conversation, its tools, and what else the row holds."""
    turns = list(_turns(row.get("messages")))
    known: tuple[str, ...] = ("messages", "tools")
    if not turns or not answered(turns[-1].get("role")):
        turns, known = turns + answer_turns(row.get("answer")), tuple(COLUMNS)
    return conversation(
        [message_of(turn) for turn in turns], tools=parsed_tools(row.get("tools")), meta=rest(row, *known)
    )


def _fitting(rows: Sequence[Row], column: str, key: str) -> bool:
    def fits(row: Row) -> bool:
        turns = row.get(column)
        return isinstance(turns, list) and bool(turns) and isinstance(turns[0], Mapping) and key in turns[0]

    return bool(rows) and sum(map(fits, rows)) * 2 > len(rows)


def _turns(value: Any) -> Sequence[Mapping[str, Any]]:
    if value is None:
        raise BadRow("column 'messages' is missing")
    if not isinstance(value, list) or not all(isinstance(turn, Mapping) for turn in value):
        raise BadRow("column 'messages' is not a list of messages")
    return value


def answer_turns(value: Any) -> list[Mapping[str, Any]]:
    """An answer that stands in a column of its own, as turns: text, a message, or a list of them."""
    if value is None:
        return []
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    return list(_turns(value if isinstance(value, list) else [value]))


def message_of(turn: Mapping[str, Any]) -> Message:
    """A turn ``{role, content}`` with what templates may use besides."""
    extra = {key: turn[key] for key in CARRIED if turn.get(key) is not None}
    if turn.get("tool_calls"):
        extra["tool_calls"] = [_call(call) for call in _calls(turn["tool_calls"])]
    return Message(role_of(turn.get("role")), content_text(turn.get("content")), extra)


def _calls(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(call, Mapping) for call in value):
        raise BadRow("'tool_calls' is not a list of objects")
    return value


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function", call)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise BadRow("a tool call has no function name")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except json.JSONDecodeError:
            raise BadRow("the arguments of a tool call are not JSON") from None
    kept = {key: call[key] for key in ("id", "type") if key in call}
    return {"type": "function", **kept, "function": {"name": function["name"], "arguments": arguments}}


FORMAT = Format("messages", "OpenAI messages: turns, system, tools, tool calls", COLUMNS, recognise, read)
