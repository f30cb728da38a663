"""Images with texts: captions, questions about images, labelled images, conversations with images.

An image is a path, an address, bytes, or a ``data:`` URI; it is carried and never opened here. Where it stands in a
text is the mark ``<image>``; texts without a mark have their images in front. Nothing trains on images yet, and
training says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tunesmith.contracts.data import Message, Record
from tunesmith.data.formats import messages, sharegpt
from tunesmith.data.formats.base import (
    IMAGE,
    BadRow,
    Format,
    Row,
    conversation,
    image_source,
    rest,
    text_of,
    with_images,
)
from tunesmith.data.formats.labelled import labels_of
from tunesmith.data.formats.writing import holds, turn_row

COLUMNS = {
    "images": "an image or a list of them: paths, addresses, bytes (also `image`)",
    "text": "what it shows (also `caption`), or the text beside it where the row has a label",
    "question": "what is asked about it (also `prompt`, `instruction`), with `answer` (`completion`, `output`)",
    "messages": "a conversation about it (also `conversations`)",
    "label": "what it is",
}
NAMES = ("images", "image")
ASKED = {"question": "answer", "prompt": "completion", "instruction": "output"}
CAPTIONS = ("text", "caption")


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with an image and something that is said of it."""
    for name in NAMES:
        held = sum(bool(row.get(name)) and any(row.get(column) is not None for column in _SAID) for row in rows)
        if rows and held * 2 > len(rows):
            return f"the rows have images in the column '{name}', and texts"
    return None


def read(row: Row) -> Record:
    """The texts with marks where images stand, and the images."""
    held = next((row[name] for name in NAMES if row.get(name)), None)
    if held is None:
        raise BadRow("column 'images' is missing")
    images = [image_source(one) for one in (held if isinstance(held, list | tuple) else [held])]
    left = rest(row, *NAMES)
    for column, form in (("messages", messages), ("conversations", sharegpt)):
        if left.get(column) is not None:
            return with_images(_marked(form.read(left), len(images)), images)
    return with_images(_marked(_plain(left), len(images)), images)


def write(record: Record) -> dict[str, Any]:
    """Images in a column, and the conversation or labelled text with their marks."""
    if not record.images:
        raise BadRow("the row has no image")
    images = {"images": list(record.images)}
    if record.messages is not None:
        holds(record, "messages", "tools", "images")
        tools = {"tools": list(record.tools)} if record.tools else {}
        return {**images, "messages": [turn_row(message) for message in record.messages], **tools}
    holds(record, "text", "labels", "images")
    labels = record.labels or ()
    return {**images, "text": record.text, "label": labels[0] if len(labels) == 1 else list(labels)}


def _plain(row: Row) -> Record:
    """What is said of the images, without their marks."""
    if row.get("label") is not None:
        text = text_of(row, "text", required=False)
        return Record(text=text, labels=labels_of(row["label"]), meta=rest(row, "text", "label"))
    for question, answer in ASKED.items():
        if row.get(question) is not None:
            turns = (Message("user", text_of(row, question)), Message("assistant", text_of(row, answer)))
            return conversation(turns, tools=None, meta=rest(row, question, answer))
    caption = next((name for name in CAPTIONS if row.get(name) is not None), "text")
    turns = (Message("user", ""), Message("assistant", text_of(row, caption)))
    return conversation(turns, tools=None, meta=rest(row, caption))


def _marked(record: Record, count: int) -> Record:
    """Marks for ``count`` images in front of the first question, where no text has one."""
    if record.text is not None:
        return record if IMAGE in record.text else replace(record, text=IMAGE * count + record.text)
    turns = list(record.messages or ())
    if any(IMAGE in turn.content for turn in turns):
        return record
    first = next((number for number, turn in enumerate(turns) if turn.role == "user"), None)
    if first is None:
        raise BadRow("nobody asks about the image")
    turns[first] = replace(turns[first], content=IMAGE * count + turns[first].content, extra={})
    return replace(record, messages=tuple(turns))


_SAID = (*ASKED, *CAPTIONS, "messages", "conversations", "label")
SAMPLES: tuple[Row, ...] = (
    {"image": "cat.png", "text": "A cat on a wall."},
    {"image": "cat.png", "label": "cat"},
    {"images": ["cat.png", "dog.png"], "question": "Which is louder?", "answer": "The second."},
    {
        "images": ["cat.png"],
        "messages": [
            {"role": "user", "content": "What is <image>?"},
            {"role": "assistant", "content": "A cat."},
        ],
    },
)
FORMAT = Format(
    "image-text", "images with texts or labels (carried, not trained on yet)", COLUMNS, recognise, read, write, SAMPLES
)
