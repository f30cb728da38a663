"""What writers of formats share: the parts of a record as rows hold them, and what a format has no place for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from tunesmith.contracts.data import Message, Record
from tunesmith.data.candidates import asked
from tunesmith.data.formats.base import BadRow

WORDS = {
    "messages": "a conversation",
    "text": "a text that nobody answers",
    "pair": "a second text",
    "labels": "labels",
    "spans": "places in the text",
    "others": "texts that do not belong to it",
    "images": "images",
    "tools": "tools",
    "candidates": "rated answers",
    "raw_prompt": "a prompt that is joined as it is",
}
"""Parts of a record, for people."""


def holds(record: Record, *parts: str) -> None:
    """``BadRow`` where ``record`` has something other than ``parts``, for which the format has no place."""
    always = ("meta", "source", "line", "raw_prompt", *parts)
    for one in fields(record):
        if one.name not in always and getattr(record, one.name) not in (None, (), False):
            raise BadRow(f"the row has {WORDS[one.name]}, and the format has no place for that")
    if parts[0] in WORDS and getattr(record, parts[0]) is None:
        raise BadRow(f"the row is not {WORDS[parts[0]]}")


def turn_row(message: Message) -> dict[str, Any]:
    """A turn as ``{role, content}`` and what it holds besides."""
    extra = dict(message.extra)
    if extra.get("instruction") == message.content and not extra.get("input"):
        extra = {key: value for key, value in extra.items() if key not in ("instruction", "input")}
    return {"role": message.role, "content": message.content, **extra}


def question_row(record: Record) -> dict[str, Any]:
    """The columns of what is asked: ``prompt`` as text where it is joined as it is, else as turns; and tools."""
    if record.messages and record.messages[-1].role == "assistant":
        raise BadRow("the row has an answer of its own besides the rated ones")
    if record.raw_prompt:
        return {"prompt": "".join(message.content for message in asked(record))}
    tools = {"tools": list(record.tools)} if record.tools else {}
    return {"prompt": [turn_row(message) for message in asked(record)], **tools}


def answer_value(messages: Sequence[Message], *, raw: bool) -> Any:
    """An answer as text beside a text prompt, else as turns."""
    return messages[0].content if raw and len(messages) == 1 else [turn_row(message) for message in messages]
