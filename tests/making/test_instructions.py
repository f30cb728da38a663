"""Labelled rows of every kind as instructions, and other wordings around instructions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from built import built, dropped

from tunesmith.errors import UserError
from tunesmith.making.building.instructions import Instructions
from tunesmith.making.building.wordings import Wordings

REVIEWS = [{"text": f"film {number} {{text}}", "label": number % 2, "id": number} for number in range(6)]


def said(row: dict[str, Any]) -> tuple[str, str]:
    question, answer = row["messages"]
    return question["content"], answer["content"]


def test_a_label_becomes_an_answer_in_words() -> None:
    rows = built(Instructions(task="the mood", names={0: "bad", 1: "good"}), REVIEWS)
    assert [said(row)[1] for row in rows] == ["bad", "good"] * 3
    for number, row in enumerate(rows):
        question = said(row)[0]
        assert f"film {number} {{text}}" in question  # braces in a text are its own
        assert "the mood" in question
        assert "bad, good" in question
        assert (row["id"], row["made"]["id"], row["made"]["kind"]) == (number, number, "label")


def test_variants_are_different_templates() -> None:
    rows = built(Instructions(variants=3), REVIEWS)
    assert len(rows) == 18
    for first in range(0, 18, 3):
        assert len({row["made"]["template"] for row in rows[first : first + 3]}) == 3
        assert len({said(row)[0] for row in rows[first : first + 3]}) == 3
    assert built(Instructions(variants=99), REVIEWS[:1])[0]["made"]["line"] == 1
    assert [said(row) for row in built(Instructions(seed=1), REVIEWS)] != [
        said(row) for row in built(Instructions(), REVIEWS)
    ]


@pytest.mark.parametrize(
    ("rows", "kind", "answers"),
    [
        ([{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": []}], "labels", ["x, y", "none"]),
        ([{"text": "a", "label": 2.5}, {"text": "b", "label": 4.0}], "number", ["2.5", "4"]),
        ([{"text": "a", "pair": "b", "label": "yes"}] * 2, "pair", ["yes", "yes"]),
        ([{"text": "a", "pair": "b", "label": 0.5}], "pair-number", ["0.5"]),
        (
            [
                {"question": "q", "context": "a story", "answers": [{"text": "story", "answer_start": 2}]},
                {"question": "q", "context": "a story", "answers": []},
            ],
            "question",
            ["story", "The text does not say."],
        ),
        (
            [
                {"text": "Ada sees Rome", "spans": [[0, 3, "person"], [9, 13, "city"]]},
                {"text": "It is late", "spans": []},
            ],
            "places",
            ["person: Ada\ncity: Rome", "The text does not say."],
        ),
        ([{"tokens": ["birds", "sing"], "tags": ["NOUN", "VERB"]}], "places", ["NOUN: birds\nVERB: sing"]),
    ],
)
def test_every_kind_of_labelled_row(rows: list[dict[str, Any]], kind: str, answers: list[str]) -> None:
    made = built(Instructions(), rows)
    assert [row["made"]["kind"] for row in made] == [kind] * len(rows)
    assert [said(row)[1] for row in made] == answers


def test_whole_numbers_that_repeat_are_names() -> None:
    assert {row["made"]["kind"] for row in built(Instructions(), REVIEWS)} == {"label"}
    ratings = [{"text": str(number), "label": number * 7 % 100} for number in range(30)]
    assert {row["made"]["kind"] for row in built(Instructions(), ratings)} == {"number"}


def test_many_labels_are_not_listed() -> None:
    rows = [{"text": f"a {number}", "label": f"label{number % 50}"} for number in range(200)]
    assert all("the known labels" in said(row)[0] or "{" not in said(row)[0] for row in built(Instructions(), rows))
    assert not any("label49" in said(row)[0] for row in built(Instructions(), rows))
    assert any("label49" in said(row)[0] for row in built(Instructions(most_choices=50), rows))


def test_rows_without_a_label_are_counted() -> None:
    assert dropped(Instructions(), [{"instruction": "a", "output": "b"}, {"text": "a"}]) == ["the row has no label"] * 2


def test_templates_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("label:\n  - 'Say {task}: {text}'\n")
    assert said(built(Instructions(templates=str(path)), REVIEWS)[0])[0] == "Say the label: film 0 {text}"
    for text in ("label:\n  - 'no place'\n", "label: {text}\n", "other:\n  - '{text}'\n", "- a\n"):
        path.write_text(text)
        with pytest.raises(UserError) as refused:
            built(Instructions(templates=str(path)), REVIEWS)
        assert refused.value.code == "bad-templates"


TASKS = [
    {"instruction": "Add.", "input": f"{number} 1", "output": str(number + 1), "task": "sum"} for number in range(8)
]


def test_wordings_keep_the_answer_and_the_row() -> None:
    rows = built(Wordings(variants=2), TASKS)
    assert len(rows) == 24
    for first in range(0, 24, 3):
        own, one, other = rows[first : first + 3]
        number = first // 3
        assert (own["instruction"], own["made"]["template"]) == ("Add.", 0)
        for row in (own, one, other):
            assert (row["output"], row["task"]) == (str(number + 1), "sum")
        for row in (one, other):
            assert "Add." in row["instruction"]
            assert f"{number} 1" in row["instruction"]
        assert len({own["instruction"], one["instruction"], other["instruction"]}) == 3
    assert len(built(Wordings(keep=False), TASKS)) == 8


def test_templates_with_an_input_are_for_rows_that_have_one() -> None:
    plain = [{"instruction": f"Say {number}.", "output": "x"} for number in range(40)]
    used = {row["made"]["template"] for row in built(Wordings(keep=False), plain)}
    assert used <= {1, 2, 3, 4, 5}
    with_input = {row["made"]["template"] for row in built(Wordings(variants=7, keep=False), TASKS)}
    assert with_input == {1, 2, 3, 4, 5, 6, 7}


def test_descriptions_stand_in_the_system_prompt_or_in_front() -> None:
    builder = Wordings(descriptions=["You add.", "You count."], variants=2, keep=False)
    rows = built(builder, TASKS[:1])
    assert {row["system"] for row in rows} == {"You add.", "You count."}
    assert [row["instruction"] for row in rows] == ["Add.\n0 1"] * 2
    own = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            *({"role": r, "content": r} for r in ("user", "assistant")),
        ]
    }
    (row,) = built(Wordings(descriptions=["You add."], keep=False), [own])
    assert row["messages"][0]["content"] == "You add.\n\nBe brief."
    (row,) = built(Wordings(descriptions=["You add."], place="front", keep=False), [own])
    assert row["messages"][1]["content"] == "You add.\n\nuser"


def test_pairs_get_other_wordings_too() -> None:
    pair = {"prompt": "a", "chosen": "b", "rejected": "c"}
    (row,) = built(Wordings(keep=False), [pair])
    assert (row["chosen"], row["rejected"]) == ("b", "c")
    assert row["prompt"] != "a"
    assert dropped(Wordings(), [{"text": "a"}]) == ["the row asks nothing"]
