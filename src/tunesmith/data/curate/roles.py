"""Roles of conversations: rows in which the wrong one speaks.

    begins       an answer comes before any question
    twice        the same side speaks twice in a row (a call of a tool and what follows it aside)
    unanswered   the last word is not an answer
    tool         a tool answers that nobody called

Roles that are no roles (``narrator``) and system messages in the middle are refused where rows are read, with their
own reasons. The trap: conversations that were cut into pieces begin with answers and end with questions; leave out
``begins`` or ``unanswered`` if yours are meant to.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from tunesmith.contracts.data import Message
from tunesmith.data.curate.base import Drop, Item, RowStep

Rule = Literal["begins", "twice", "unanswered", "tool"]
_WORDS = {
    "begins": "begins: an answer comes before any question",
    "twice": "twice: the same side speaks twice in a row",
    "unanswered": "unanswered: the conversation does not end in an answer",
    "tool": "tool: a tool answers that was not called",
}


class Roles(RowStep):
    """Drops conversations in which the wrong side speaks."""

    NAME: ClassVar[str] = "roles"

    rules: Annotated[list[Rule], Field(min_length=1)] = list(get_args(Rule))
    """Which rules hold."""

    def look(self, item: Item) -> Drop | None:
        """Dropped for the first rule that is broken; rows that are no conversations are left alone."""
        messages = item.record.messages
        if messages is None:
            return None
        turns = [message for message in messages if message.role != "system"]
        # of rated rows the answers stand apart, so that a question is their last word
        broken = _broken(turns, answered_apart=bool(item.record.candidates))
        return next((Drop(_WORDS[rule]) for rule in self.rules if rule in broken), None)


def _broken(turns: Sequence[Message], *, answered_apart: bool) -> set[str]:
    found = set[str]()
    if not turns:
        return found
    if turns[0].role == "assistant":
        found.add("begins")
    if turns[0].role == "tool":
        found.add("tool")
    if turns[-1].role != "assistant" and not answered_apart:
        found.add("unanswered")
    for before, after in pairwise(turns):
        if after.role == "tool":
            calls = before.role == "tool" or bool(before.extra.get("tool_calls")) or _calls_in_text(before)
            found |= set() if calls else {"tool"}
        elif before.role == after.role and not before.extra.get("tool_calls"):
            found.add("twice")
    return found


def _calls_in_text(turn: Message) -> bool:
    """Whether an answer spells its call out, as many tools' rows do."""
    return turn.role == "assistant" and any(mark in turn.content for mark in ("{", "<tool", "```"))
