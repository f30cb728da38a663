"""The text of a row that is put in other words: the last question of a conversation, or the text."""

from __future__ import annotations

from dataclasses import replace

from tunesmith.contracts.data import Record
from tunesmith.data.candidates import asked
from tunesmith.data.formats.base import BadRow


def last_question(record: Record) -> int | None:
    """The place of the last question among the turns; None where nothing is asked."""
    turns = asked(record)
    return next((place for place in reversed(range(len(turns))) if turns[place].role == "user"), None)


def changeable(record: Record) -> str:
    """The text that may change: of a question with an input the instruction alone. ``BadRow`` where nothing may."""
    if record.text is not None:
        if record.spans:
            raise BadRow("the row points into its text, which must stay as it is")
        return record.text
    place = last_question(record)
    if place is None or record.messages is None:
        raise BadRow("the row asks nothing")
    turn = record.messages[place]
    return str(turn.extra.get("instruction") or turn.content)


def changed(record: Record, text: str) -> Record:
    """``record`` with ``text`` in place of what is changeable."""
    if record.text is not None:
        return replace(record, text=text)
    place = last_question(record)
    assert place is not None
    assert record.messages is not None
    turn = record.messages[place]
    given = str(turn.extra.get("input") or "") if turn.extra.get("instruction") else ""
    whole = f"{text}\n{given}" if given.strip() else text
    extra = {"instruction": text, "input": given} if turn.extra.get("instruction") else {}
    turns = (*record.messages[:place], replace(turn, content=whole, extra=extra), *record.messages[place + 1 :])
    return replace(record, messages=turns)
