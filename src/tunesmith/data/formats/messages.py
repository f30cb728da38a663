"""OpenAI messages: a list of ``{role, content}``, with tools and tool calls.

Arguments of a tool call, which the OpenAI format writes as a JSON string, become objects: templates write them out as
JSON themselves. An image among the parts of a content is the mark ``<image>`` in its text. ``answer`` is the last
assistant turn where the messages end with a question (preference rows keep it in a column of its own); where they end
with an answer it is a column like any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.contracts.data import Message, Record
from tunesmith.data.formats.base import (
    IMAGE,
    BadRow,
    Format,
    Row,
    answered,
    content_images,
    content_text,
    conversation,
    rest,
    role_of,
    with_images,
)
from tunesmith.data.formats.tools import check_calls, parsed_tools
from tunesmith.data.formats.writing import holds, turn_row

COLUMNS = {
    "messages": "list of {role, content}, in order",
    "tools": "tool descriptions (may be missing)",
    "answer": "the answer, where messages end with a question: text, a message, or a list of them (may be missing)",
}
CARRIED = ("name", "tool_call_id", "reasoning_content", "thinking", "instruction", "input")
"""What a turn may hold besides; the last two are the parts of its content, where it has parts."""


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows whose ``messages`` are objects with a role and content."""
    return "column 'messages' holds lists of {role, content}" if _fitting(rows, "messages", "role") else None


def read(row: Row) -> Record:
    """The conversation, its tools, and what else the row holds."""
    turns = list(_turns(row.get("messages")))
    known: tuple[str, ...] = ("messages", "tools")
    if not turns or not answered(turns[-1].get("role")):
        turns, known = turns + answer_turns(row.get("answer")), tuple(COLUMNS)
    found, tools = [message_of(turn) for turn in turns], parsed_tools(row.get("tools"))
    check_calls(found, tools)
    images = [image for turn in turns for image in content_images(turn.get("content"))]
    return with_images(conversation(found, tools=tools, meta=rest(row, *known)), images)


def write(record: Record) -> dict[str, Any]:
    """The conversation as turns; images as parts of their contents."""
    holds(record, "messages", "tools", "images")
    if record.raw_prompt:
        raise BadRow("prompt and completion are joined as they are, and a conversation gets a template")
    turns = [turn_row(message) for message in record.messages or ()]
    images = list(record.images)
    for turn in turns if images else ():
        texts = turn["content"].split(IMAGE)
        if len(texts) > 1:
            shown = [{"type": "image", "image": images.pop(0)} for _ in texts[1:]]
            parts = [part for text, image in zip(texts, [*shown, None], strict=True) for part in (_text(text), image)]
            turn["content"] = [part for part in parts if part]
    return {"messages": turns, **({"tools": list(record.tools)} if record.tools else {})}


def _text(text: str) -> dict[str, str] | None:
    return {"type": "text", "text": text} if text else None


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
    if isinstance(turn.get("reasoning"), str):
        extra.setdefault("reasoning_content", turn["reasoning"])
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


_ASKED, _SAID = {"role": "user", "content": "Is it late?"}, {"role": "assistant", "content": "It is noon."}
_CALL = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": {"zone": "UTC"}}}
_ZONE = {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}
_TOOL = {"type": "function", "function": {"name": "now", "description": "The time.", "parameters": _ZONE}}
SAMPLES: tuple[Row, ...] = (
    {"messages": [_ASKED, _SAID]},
    {"messages": [{"role": "system", "content": "Be brief."}, _ASKED, _SAID, _ASKED, _SAID]},
    {"messages": [_ASKED, {**_SAID, "reasoning_content": "The clock says twelve."}]},
    {
        "messages": [
            _ASKED,
            {"role": "assistant", "content": "", "tool_calls": [_CALL]},
            {"role": "tool", "content": "12:00", "tool_call_id": "c1"},
            _SAID,
        ],
        "tools": [_TOOL],
    },
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "image", "image": "cat.png"}]},
            {"role": "assistant", "content": "A cat."},
        ]
    },
)
FORMAT = Format(
    "messages",
    "OpenAI messages: turns, system, tools, tool calls, reasoning, images",
    COLUMNS,
    recognise,
    read,
    write,
    SAMPLES,
)
