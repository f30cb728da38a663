"""Failure mining: wrong answers become the right ones to imitate, and pairs of right over wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import parents, work

from tunesmith.contracts.data import Candidate, Message
from tunesmith.errors import UserError
from tunesmith.making.base import Made, Parent
from tunesmith.making.failures import NO_REFERENCE, RIGHT, Failures


def judged(said: str | None, right: str | None = "It is 7.", **meta: object) -> Parent:
    (parent,) = parents("What is 3 + 4?", **meta)
    turns = parent.record.messages or ()
    if right is not None:
        turns = (*turns, Message("assistant", right))
    return replace(parent, record=replace(parent.record, messages=turns), answer=said)


def made(parent: Parent, reply: str = "", **options: object) -> Made:
    (one,) = Failures(**options).ready(work([parent], lambda *_: reply)).make([0])
    return one


def test_a_wrong_answer_is_a_row_and_a_pair() -> None:
    one = made(judged("It is 8."))
    (row,), (pair,) = one.rows, one.pairs
    assert row["messages"][-1] == {"role": "assistant", "content": "It is 7."}
    assert (pair["chosen"], pair["rejected"]) == ("It is 7.", "It is 8.")
    assert row["made"] == {"how": "failures", "file": "rows.jsonl", "line": 1, "wrong": "It is 8.", "score": 0.0}
    assert one.measured == {"right": 0.0}


def test_a_right_answer_is_counted_and_left() -> None:
    one = made(judged("it is 7"))
    assert (one.rows, one.dropped, one.measured) == ((), [RIGHT], {"right": 1.0})


def test_f1_and_its_threshold() -> None:
    assert made(judged("It is 8."), metric="f1", below=0.5).dropped == [RIGHT]
    assert made(judged("It is 8."), metric="f1", below=0.9).rows


def test_rewards_judge_in_place_of_the_metric() -> None:
    assert made(judged("The sum: 7"), rewards="numeric").dropped == [RIGHT]
    assert made(judged("The sum: 9"), rewards=["numeric"]).pairs[0]["rejected"] == "The sum: 9"


def test_an_empty_answer_is_no_opposite() -> None:
    one = made(judged(" "))
    assert len(one.rows) == 1 and not one.pairs


def test_the_right_answer_is_not_preferred_over_itself() -> None:
    one = made(judged("It is 7. "), below=2.0)
    assert len(one.rows) == 1 and not one.pairs


def test_the_model_is_asked_where_nothing_was_said() -> None:
    assert made(judged(None), reply="It is 9.").pairs[0]["rejected"] == "It is 9."
    assert made(judged(None), reply="It is 7.").dropped == [RIGHT]


def test_right_answers_stand_in_a_turn_in_candidates_or_in_a_column() -> None:
    assert made(judged("8", right=None, answer=7)).rows[0]["messages"][-1]["content"] == "7"
    assert made(judged("8", right=None)).dropped == [NO_REFERENCE]
    parent = judged("8", right=None)
    rated = tuple(Candidate((Message("assistant", text),)) for text in ("seven", "eight"))
    assert made(replace(parent, record=replace(parent.record, candidates=rated))).pairs[0]["chosen"] == "seven"


def test_an_unknown_metric_is_told() -> None:
    with pytest.raises(UserError) as told:
        made(judged("8"), metric="exact")
    assert told.value.code == "unknown-metric"
