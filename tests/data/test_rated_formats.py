"""Rows with rated answers: every shape they come in, why a row is none, and what is imitated of them."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.contracts.data import Record
from tunesmith.data.candidates import asked, imitated
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow
from tunesmith.data.recognise import recognise
from tunesmith.data.sources import open_source

USER, GOOD, BAD = (
    {"role": role, "content": text} for role, text in (("user", "hi"), ("assistant", "a"), ("assistant", "b"))
)
HUMAN, GPT, WORSE = ({"from": name, "value": text} for name, text in (("human", "hi"), ("gpt", "a"), ("gpt", "b")))
PAIRS: dict[str, dict[str, Any]] = {
    "text": {"prompt": "hi", "chosen": "a", "rejected": "b"},
    "messages": {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    "question in the answers too": {"prompt": "hi", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "whole conversations": {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "one text each": {"chosen": "\n\nHuman: hi\n\nAssistant: a", "rejected": "\n\nHuman: hi\n\nAssistant: b"},
    "sharegpt": {"conversations": [HUMAN], "chosen": GPT, "rejected": WORSE},
    "openai": {"messages": [USER], "chosen": GOOD, "rejected": BAD},
    "question": {"question": "hi", "chosen": "a", "rejected": "b"},
    "instruction": {"instruction": "hi", "input": "", "chosen": "a", "rejected": "b"},
}


def said(record: Record) -> tuple[list[str], list[list[str]]]:
    answers = [[turn.content for turn in one.messages] for one in record.candidates]
    return [turn.content for turn in asked(record)], answers


def read(name: str, row: dict[str, Any]) -> Record:
    record: Record = FORMATS.load(name).read(row)
    return record


@pytest.mark.parametrize("shape", PAIRS)
def test_a_pair_is_read_in_every_shape(shape: str) -> None:
    row = PAIRS[shape]
    found = recognise([row] * 3, path="x", columns={})
    assert found.format.name == "preference"
    assert "'chosen'" in found.reason
    record = found.format.read(row)
    assert said(record) == (["hi"], [["a"], ["b"]])
    assert record.raw_prompt == (shape == "text")


def test_what_stands_beside_a_pair_is_kept() -> None:
    row = {"question": "hi", "system": "be kind", "chosen": "a", "rejected": "b", "margin": 2, "task": "x"}
    record = read("preference", row)
    assert [turn.role for turn in record.messages or ()] == ["system", "user"]
    assert [one.score for one in record.candidates] == [2.0, 0.0]
    assert record.meta == {"task": "x"}
    scored = read(
        "preference", {"prompt": "hi", "chosen": "a", "rejected": "b", "score_chosen": 9, "score_rejected": 4.5}
    )
    assert [one.score for one in scored.candidates] == [9.0, 4.5]


def test_conversations_part_where_their_answers_do() -> None:
    """The common beginning ends with a question: an answer that both begin with is not cut in two."""
    opening = [USER, {"role": "assistant", "content": "yes?"}, {"role": "user", "content": "more"}]
    record = read("preference", {"chosen": [*opening, GOOD], "rejected": [*opening, BAD]})
    assert said(record) == (["hi", "yes?", "more"], [["a"], ["b"]])
    long = read("preference", {"chosen": [*opening, GOOD], "rejected": [*opening, GOOD, USER, BAD]})
    assert said(long) == (["hi", "yes?", "more"], [["a"], ["a", "hi", "b"]])


def test_an_alpaca_row_keeps_its_output_for_imitation() -> None:
    row = {"instruction": "hi", "input": "", "output": "o", "chosen": "a", "rejected": "b"}
    assert recognise([row], path="x", columns={}).format.name == "alpaca"
    record = read("alpaca", row)
    assert said(record) == (["hi"], [["a"], ["b"]])
    assert [turn.content for turn in imitated(record).messages or ()] == ["hi", "o"]


def test_imitation_takes_the_best_answer() -> None:
    record = imitated(read("preference", PAIRS["messages"]))
    assert [turn.content for turn in record.messages or ()] == ["hi", "a"]
    assert record.candidates == ()
    kept = imitated(read("unpaired", {"messages": [USER, GOOD], "label": True}))
    assert [turn.content for turn in kept.messages or ()] == ["hi", "a"]
    with pytest.raises(BadRow, match="not wanted"):
        imitated(read("unpaired", {"messages": [USER, GOOD], "label": False}))


@pytest.mark.parametrize(
    ("row", "scores"),
    [
        ({"responses": ["a", "b", "c"]}, [None, None, None]),
        ({"responses": ["b", "a", "c"], "scores": [2, 3, 1]}, [3.0, 2.0, 1.0]),
        ({"responses": ["c", "a", "b"], "ranks": [3, 1, 2]}, [-1.0, -2.0, -3.0]),
        ({"candidates": [{"text": "b", "score": 0.2}, {"text": "a", "score": 0.5}, {"text": "c", "score": 0}]}, None),
    ],
)
def test_ranked_answers_stand_best_first(row: dict[str, Any], scores: list[float | None] | None) -> None:
    whole = {"prompt": "hi", **row}
    assert recognise([whole], path="x", columns={}).format.name == "ranked"
    record = read("ranked", whole)
    assert said(record) == (["hi"], [["a"], ["b"], ["c"]])
    if scores is not None:
        assert [one.score for one in record.candidates] == scores


@pytest.mark.parametrize(
    ("row", "score"),
    [
        ({"messages": [USER, GOOD], "label": True}, 1.0),
        ({"conversations": [HUMAN, GPT], "kto_tag": False}, 0.0),
        ({"prompt": "hi", "completion": "a", "label": False}, 0.0),
        ({"prompt": [USER], "completion": [GOOD], "label": True}, 1.0),
    ],
)
def test_single_answers_carry_their_mark(row: dict[str, Any], score: float) -> None:
    found = recognise([row], path="x", columns={})
    assert found.format.name == "unpaired"
    assert "true or false" in found.reason
    record = found.format.read(row)
    assert said(record) == (["hi"], [["a"]])
    assert [one.score for one in record.candidates] == [score]


def test_a_label_that_is_no_mark_leaves_conversations_to_sft() -> None:
    row = {"messages": [USER, GOOD], "label": "greeting"}
    assert recognise([row], path="x", columns={}).format.name == "messages"


def test_steps_keep_their_places_and_labels() -> None:
    row = {"prompt": "2 + 2 + 2?", "completions": [" 2 + 2 = 4\n", "4 + 2 = 7"], "labels": [True, 0.25]}
    assert recognise([row], path="x", columns={}).format.name == "steps"
    record = read("steps", row)
    (answer,) = record.candidates[0].messages
    assert [answer.content[left:right] for left, right in record.spans] == ["2 + 2 = 4", "4 + 2 = 7"]
    assert record.labels == ("1.0", "0.25")


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("preference", {"prompt": "hi", "chosen": "a", "rejected": None}, "'rejected' is missing"),
        ("preference", {"prompt": "hi", "chosen": " ", "rejected": "b"}, "in column 'chosen' is empty"),
        ("preference", {"prompt": "hi", "chosen": [USER], "rejected": "b"}, "does not end with an answer"),
        ("preference", {"prompt": "hi", "chosen": 4, "rejected": "b"}, "holds int, not an answer"),
        ("preference", {"chosen": [USER, GOOD], "rejected": [{**USER, "content": "x"}, BAD]}, "share no prompt"),
        ("preference", {"chosen": "a", "rejected": "b"}, "no column holds the prompt"),
        ("preference", {"prompt": [USER, GOOD], "chosen": "a", "rejected": "b"}, "ends with an answer"),
        ("preference", {"prompt": "hi", "chosen": "a", "rejected": "b", "margin": "far"}, "not a number"),
        ("preference", {"messages": "hi", "chosen": "a", "rejected": "b"}, "not a list of messages"),
        ("ranked", {"prompt": "hi", "responses": ["a"]}, "at least two"),
        ("ranked", {"prompt": "hi", "responses": ["a", "b"], "scores": [1]}, "one number an answer"),
        ("ranked", {"prompt": "hi", "responses": [{"text": "a", "score": 1}, {"text": "b"}]}, "others have none"),
        ("ranked", {"responses": ["a", "b"]}, "'prompt' is missing"),
        ("unpaired", {"messages": [USER], "label": True}, "does not end with an answer"),
        ("unpaired", {"messages": [USER, {**GOOD, "content": ""}], "label": True}, "the answer is empty"),
        ("unpaired", {"prompt": "hi", "completion": "a", "label": "perhaps"}, "not true or false"),
        ("unpaired", {"prompt": "hi", "completion": "a"}, "'label' is missing"),
        ("unpaired", {"prompt": "hi", "label": True}, "'completion' is missing"),
        ("steps", {"prompt": "hi", "steps": ["a"], "labels": [True, False]}, "1 steps have 2 labels"),
        ("steps", {"prompt": "hi", "steps": ["a", " "], "labels": [1, 0]}, "a step is empty"),
        ("steps", {"prompt": "hi", "steps": ["a"], "labels": ["good"]}, "not true, false"),
        ("steps", {"prompt": "hi", "steps": ["a"], "labels": [2]}, "from 0 to 1"),
        ("steps", {"prompt": "hi", "steps": "a", "labels": [1]}, "no list of steps"),
    ],
)
def test_a_broken_row_says_why(name: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        read(name, row)


@pytest.mark.parametrize(
    ("file", "form", "answers"),
    [
        ("rasbt_instruction_preference.json", "alpaca", 2),
        ("dpo_en_demo.json", "preference", 2),
        ("kto_en_demo.json", "unpaired", 1),
    ],
)
def test_real_rows(real_data: Any, file: str, form: str, answers: int) -> None:
    rows = [row.value for row in open_source(str(real_data / "preference" / file), split=None).rows()]
    found = recognise(rows[:20], path=file, columns={})
    assert found.format.name == form
    assert {len(found.format.read(row).candidates) for row in rows} == {answers}
