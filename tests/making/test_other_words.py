"""Paraphrases, translations there and back, and questions about texts: what is kept, what is dropped and why."""

from __future__ import annotations

from typing import Any

import pytest
from built import parents
from scripted import CUT, author

from tunesmith.making.base import CUT as CUT_OFF
from tunesmith.making.base import EMPTY, TOO_LONG, Made, Maker, Work
from tunesmith.making.paraphrase import ELSE, SAME, Paraphrase
from tunesmith.making.questions import LIKE_ANOTHER, NO_TEXT, NOT_GROUNDED, Questions

ROW = {"instruction": "name the largest river of all", "output": "the Nile"}


def made(maker: Maker, rows: list[dict[str, Any]], *replies: str, **options: Any) -> tuple[list[Made], list[str]]:
    """What comes of ``rows`` where the model says ``replies`` in turn, and what it was asked."""
    left = iter(replies)
    one = author(lambda *_: next(left), **options)
    work = Work(parents(rows), lambda: one, [])
    making = maker.ready(work)
    found = making.make(range(making.units))
    sampler: Any = one.sampler
    assert list(left) == []
    return found, sampler.asked


def test_a_paraphrase_takes_the_place_of_the_question() -> None:
    (one,), asked = made(Paraphrase(), [ROW], "which river is the largest of all")
    own, new = one.rows
    assert own["instruction"] == ROW["instruction"]
    assert (new["instruction"], new["output"]) == ("which river is the largest of all", "the Nile")
    assert new["made"] == {
        "how": "paraphrase",
        "file": "rows.jsonl",
        "line": 1,
        "by": "paraphrase",
        "was": ROW["instruction"],
    }
    assert "Say this in other words" in asked[0]
    assert asked[0].endswith(ROW["instruction"])
    assert 0.4 < one.measured["likeness"] < 0.9


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("Name the largest river of all!", SAME),
        ("whales sleep half at a time", ELSE),
        ("", EMPTY),
        (f"which river is the largest{CUT}", CUT_OFF),
    ],
)
def test_what_is_not_kept_has_a_reason(reply: str, reason: str) -> None:
    (one,), _ = made(Paraphrase(keep=False), [ROW], reply)
    assert (list(one.rows), one.dropped) == ([], [reason])


def test_copies_must_be_unlike_each_other() -> None:
    new = "which river is the largest of all"
    (one,), _ = made(Paraphrase(copies=3, keep=False), [ROW], new, new, "the largest river, which is it")
    assert [row["instruction"] for row in one.rows] == [new, "the largest river, which is it"]
    assert one.dropped == [SAME]


def test_there_and_back() -> None:
    label = {"text": "a fine film for all", "label": "good"}
    found, asked = made(
        Paraphrase(language="French", keep=False), [label, ROW], "un beau film", "", "a beautiful film for everybody"
    )
    assert [row["text"] for row in found[0].rows] == ["a beautiful film for everybody"]
    assert (found[0].rows[0]["label"], found[0].rows[0]["made"]["by"]) == ("good", "French")
    assert found[1].dropped == [EMPTY]
    assert len(asked) == 3
    assert "Translate this to French" in asked[0]
    assert "from French to English" in asked[2]
    assert asked[2].endswith("un beau film")


def test_rows_that_may_not_change_and_rows_too_long() -> None:
    tagged = {"tokens": ["a"], "tags": ["X"]}
    found, asked = made(Paraphrase(), [tagged])
    assert found[0].dropped == ["the row has no text that may change"]
    assert asked == []
    found, _ = made(Paraphrase(), [ROW], context=10)
    assert found[0].dropped == [TOO_LONG]


TEXT = {"text": "The Nile is a river. It flows north to the sea.", "title": "Nile"}


def test_questions_are_asked_and_answered_from_the_text() -> None:
    (one,), asked = made(
        Questions(count=2), [TEXT], "Where does the Nile flow?", "North to the sea.", "What is it?", "A river."
    )
    assert [row["messages"][1]["content"] for row in one.rows] == ["North to the sea.", "A river."]
    first = one.rows[0]
    assert first["messages"][0]["content"] == f"{TEXT['text']}\n\nWhere does the Nile flow?"
    assert (first["title"], first["made"]["how"], first["made"]["line"]) == ("Nile", "questions", 1)
    assert "unlike these:\n- Where does the Nile flow?" in asked[2]
    assert "Question: What is it?" in asked[3]
    (alone,), _ = made(Questions(with_text=False), [TEXT], "Where to?", "North.")
    assert alone.rows[0]["messages"][0]["content"] == "Where to?"


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        (["Where does it flow?", "Through Egypt, Sudan and Uganda."], NOT_GROUNDED),
        (["Where does it flow?", ""], EMPTY),
        (["Where does it flow?", f"North to{CUT}"], CUT_OFF),
        ([""], "no question was written"),
        ([f"Where does{CUT}"], CUT_OFF),
    ],
)
def test_questions_and_answers_that_are_not_kept(replies: list[str], reason: str) -> None:
    (one,), _ = made(Questions(), [TEXT], *replies)
    assert (list(one.rows), one.dropped) == ([], [reason])


def test_a_question_is_not_asked_twice_and_rows_that_are_no_texts_are_counted() -> None:
    found, asked = made(Questions(count=2), [TEXT, ROW], "Where does it flow?", "North.", "where does it flow")
    assert found[0].dropped == [LIKE_ANOTHER]
    assert len(found[0].rows) == 1
    assert found[1].dropped == [NO_TEXT]
    assert len(asked) == 3
