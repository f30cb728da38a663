"""What formats of rated answers share: the question of a row, whatever its column is called, and answers beside it.

A question stands in ``prompt`` (text, joined as it is, or messages), ``messages``, ``conversations``, ``question``, or
``instruction`` with ``input``. An answer is a text, a message, or a list of messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.contracts.data import Candidate, Message, Record
from tunesmith.data.formats import messages, sharegpt
from tunesmith.data.formats.base import BadRow, Row, has_columns, rest, text_of
from tunesmith.data.formats.tools import check_calls, parsed_tools

ASKED = ("prompt", "messages", "conversations", "question", "instruction")
"""Columns that hold the question, in the order in which they are looked for."""
COLUMNS = {
    "prompt": "what is asked: text (joined as it is) or messages; also `messages`, `conversations`, `question`, or "
    "`instruction` with `input`",
    "system": "system prompt (may be missing)",
    "tools": "tool descriptions (may be missing)",
}
USED = (*ASKED, "input", "system", "tools")


@dataclass(frozen=True)
class Question:
    """What is asked; ``raw`` where it is plain text that no template wraps."""

    messages: tuple[Message, ...]
    raw: bool = False

    def answered_by(self, *values: Any) -> Question:
        """The same beside its answers as they stand in the row: messages among them ask for a template."""
        return replace(self, raw=self.raw and all(isinstance(value, str) for value in values))


def asks(rows: Sequence[Row]) -> str | None:
    """The column that holds the question in most rows, or None."""
    return next((name for name in ASKED if has_columns(rows, name)), None)


def question_of(row: Row) -> Question | None:
    """The question of a row; None where no column holds one."""
    column = next((name for name in ASKED if row.get(name) is not None), None)
    if column is None:
        return None
    value = row[column]
    if isinstance(value, list):
        return Question(_with_system(row, turns_of(value, column)))
    if column in ("messages", "conversations"):
        raise BadRow(f"column '{column}' is not a list of messages")
    text = text_of(row, column)
    if column == "prompt" and not row.get("system"):
        return Question((Message("user", text),), raw=True)
    given = text_of(row, "input", required=False) if column == "instruction" else ""
    whole = f"{text}\n{given}" if given.strip() else text
    extra = {"instruction": text, "input": given} if column == "instruction" else {}
    return Question(_with_system(row, (Message("user", whole, extra),)))


def answer_of(value: Any, column: str) -> tuple[Message, ...]:
    """The turns of an answer: a text, a message, or a list of messages that ends with the assistant's."""
    if value is None:
        raise BadRow(f"column '{column}' is missing")
    if isinstance(value, str):
        turns: tuple[Message, ...] = (Message("assistant", value),)
    elif isinstance(value, Mapping):
        turns = turns_of([value], column)
    elif isinstance(value, list):
        turns = turns_of(value, column)
    else:
        raise BadRow(f"column '{column}' holds {type(value).__name__}, not an answer")
    if not turns or turns[-1].role != "assistant":
        raise BadRow(f"column '{column}' does not end with an answer")
    if any(not turn.content.strip() and not turn.extra for turn in turns if turn.role == "assistant"):
        raise BadRow(f"the answer in column '{column}' is empty")
    return turns


def turns_of(value: Sequence[Any], column: str) -> tuple[Message, ...]:
    """Messages of ``{role, content}`` or ``{from, value}``."""
    if not all(isinstance(turn, Mapping) for turn in value):
        raise BadRow(f"column '{column}' is not a list of messages")
    return tuple(sharegpt.message_of(turn) if "from" in turn else messages.message_of(turn) for turn in value)


def rated(row: Row, question: Question, candidates: Sequence[Candidate], *used: str) -> Record:
    """The checked record of a question and its answers; ``used`` are the columns that hold the answers."""
    if not question.messages:
        raise BadRow("nothing is asked")
    if question.messages[-1].role == "assistant":
        raise BadRow("what is asked ends with an answer")
    if any(message.role == "system" for message in question.messages[1:]):
        raise BadRow("a system message stands after the first turn")
    tools = parsed_tools(row.get("tools"))
    for answer in candidates:
        check_calls([*question.messages, *answer.messages], tools)
    return Record(
        messages=question.messages,
        candidates=tuple(candidates),
        raw_prompt=question.raw,
        tools=tools,
        meta=rest(row, *USED, *used),
    )


def number_in(row: Row, *columns: str) -> float | None:
    """The number in the first of ``columns`` that has one."""
    found = next((row[name] for name in columns if row.get(name) is not None), None)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise BadRow(f"column '{columns[0]}' holds {type(found).__name__}, not a number")
    return float(found)


def _with_system(row: Row, turns: tuple[Message, ...]) -> tuple[Message, ...]:
    system = text_of(row, "system", required=False)
    return (Message("system", system), *turns) if system else turns
