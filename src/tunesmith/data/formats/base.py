"""What a data format is: it recognises a row by its columns and reads it into a ``Record``.

A row that cannot be read raises ``BadRow`` with the reason; the row becomes a drop in the ledger, never a crash.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.contracts.data import Message, Record, Role

Row = Mapping[str, Any]

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
}


IMAGE = "<image>"
"""What stands in a text where an image does."""
IMAGE_PARTS = ("image", "image_url", "input_image")


class BadRow(Exception):  # noqa: N818 - not an error of the program: a row that goes to the ledger
    """Why a row is dropped, in the words that the ledger shows."""


@dataclass(frozen=True)
class Format:
    """One row of the table of formats."""

    name: str
    summary: str
    columns: Mapping[str, str]
    """Canonical column -> what it holds; the names a recipe's ``columns`` maps from."""
    recognise: Callable[[Sequence[Row]], str | None]
    """Sample rows -> the reason why they are of this format, or None."""
    read: Callable[[Row], Record]
    """One row -> its record; raises ``BadRow``."""
    write: Callable[[Record], dict[str, Any]] | None = None
    """A record -> the row that ``read`` makes it of, without further columns; ``BadRow`` says what the format has no
    place for. None where its rows are files of their own kind."""
    samples: tuple[Row, ...] = ()
    """Rows of the format, from the plainest to one with everything it can hold."""


def has_columns(rows: Sequence[Row], *names: str) -> bool:
    """Whether most sample rows have every one of ``names`` (a few broken rows do not hide a format)."""
    complete = sum(all(row.get(name) is not None for name in names) for row in rows)
    return bool(rows) and complete * 2 > len(rows)


def text_of(row: Row, column: str, *, required: bool = True) -> str:
    """The text in ``column``; numbers are written out. Missing or blank required text is a ``BadRow``."""
    value = row.get(column)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        value = _written(value, column)
    if required and not value.strip():
        raise BadRow(f"column '{column}' is empty")
    return value


def _written(value: Any, column: str) -> str:
    if value is None:
        raise BadRow(f"column '{column}' is missing")
    if isinstance(value, int | float):
        return str(value)
    raise BadRow(f"column '{column}' holds {type(value).__name__}, not text")


def role_of(name: Any) -> Role:
    """The role behind a name that some tool uses for it."""
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise BadRow(f"unknown role {name!r}")
    return role


def answered(role: Any) -> bool:
    """Whether a turn of this role (in any tool's words) is an answer."""
    return isinstance(role, str) and ROLES.get(role) == "assistant"


def rest(row: Row, *used: str) -> dict[str, Any]:
    """The columns a format did not use; they travel along as ``Record.meta``."""
    return {name: value for name, value in row.items() if name not in used}


def content_text(content: Any) -> str:
    """A message's content as text: a string, nothing, or a list of parts; an image is the mark ``<image>``."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_part_text(part) for part in content)
    raise BadRow(f"a message holds {type(content).__name__}, not text")


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if is_image(part):
        return IMAGE
    if isinstance(part, Mapping) and part.get("type", "text") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise BadRow(f"a message has a part of type '{kind}', and only text and images are known")


def content_images(content: Any) -> list[str]:
    """The images among the parts of a message's content."""
    return [image_source(part) for part in content if is_image(part)] if isinstance(content, list) else []


def is_image(part: Any) -> bool:
    """Whether a part of a message is an image."""
    return isinstance(part, Mapping) and part.get("type") in IMAGE_PARTS


def image_source(value: Any) -> str:
    """An image as a path, an address or a ``data:`` URI, from the ways in which rows hold it."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, bytes | bytearray):
        return f"data:application/octet-stream;base64,{base64.b64encode(value).decode()}"
    if isinstance(value, Mapping):
        held = (value.get(key) for key in ("bytes", "image", "image_url", "url", "path"))
        found = next((one for one in held if one), None)
        if found is not None:
            return image_source(found)
    raise BadRow(f"an image is {type(value).__name__}, not a path, an address or bytes")


def conversation(
    messages: Sequence[Message], *, tools: tuple[Mapping[str, Any], ...] | None, meta: Mapping[str, Any]
) -> Record:
    """A checked conversation: something is asked, and every answer says something."""
    answers = [message for message in messages if message.role == "assistant"]
    if not messages:
        raise BadRow("the conversation is empty")
    if not answers:
        hint = "; column 'chosen' may hold it: columns: {answer: chosen}" if "chosen" in meta else ""
        raise BadRow(f"the conversation has no answer (no assistant turn){hint}")
    if any(not answer.content.strip() and not answer.extra.get("tool_calls") for answer in answers):
        raise BadRow("an answer is empty")
    if messages[0].role == "assistant" and len(messages) == 1:
        raise BadRow("the conversation has an answer and no question")
    if any(message.role == "system" for message in messages[1:]):
        raise BadRow("a system message stands after the first turn")
    return Record(messages=tuple(messages), tools=tools, meta=meta)


def with_images(record: Record, images: Sequence[str]) -> Record:
    """``record`` with its images, of which each has its mark in the texts."""
    if not images:
        return record
    texts = [record.text or "", *(message.content for message in record.messages or ())]
    marks = sum(text.count(IMAGE) for text in texts)
    if marks != len(images):
        raise BadRow(f"{IMAGE} stands {marks} times in a row of {len(images)} images")
    return replace(record, images=tuple(images))
