"""Wrong answers, few-shot packs, pairs and marks: nothing right is called wrong, and no example tells the answer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from built import built, dropped

from tunesmith.errors import UserError
from tunesmith.making.building.few_shot import FewShot
from tunesmith.making.building.marks import Marks
from tunesmith.making.building.nearest import Nearest
from tunesmith.making.building.negatives import NONE_FOUND, Negatives
from tunesmith.making.building.pairs import Pairs

CAPITALS = {"France": "Paris", "Italy": "Rome", "Norway": "Oslo", "Peru": "Lima", "Chad": "N'Djamena", "Togo": "Lomé"}
ROWS = [
    {"instruction": f"What is the capital of {country}?", "output": f"It is {city}."}
    for country, city in CAPITALS.items()
]
LABELLED = [{"text": f"text {number}", "label": "abc"[number % 3]} for number in range(12)]


def test_swapped_answers_are_those_of_other_rows() -> None:
    rows = built(Negatives(count=3), ROWS)
    assert len(rows) == 18
    for row in rows:
        question = row["prompt"][0]["content"]
        assert row["chosen"] == next(one["output"] for one in ROWS if one["instruction"] == question)
        assert row["rejected"] in {one["output"] for one in ROWS} - {row["chosen"]}
        assert row["made"]["of"] == f"rows.jsonl:{[one['output'] for one in ROWS].index(row['rejected']) + 1}"
    assert len({(row["prompt"][0]["content"], row["rejected"]) for row in rows}) == 18


def test_what_is_right_as_well_is_no_negative() -> None:
    same = [
        {"instruction": f"Is {number} a number?", "output": answer}
        for number, answer in enumerate(["Yes.", "yes", "YES!"])
    ]
    assert dropped(Negatives(), same) == [NONE_FOUND] * 3
    twice = [{"instruction": "Name one.", "output": answer} for answer in ("Rome", "Oslo", "Lima")]
    assert dropped(Negatives(), twice) == [NONE_FOUND] * 3  # the same question: each may be right


def test_near_answers_come_from_the_most_similar_question() -> None:
    rows = [
        {"instruction": "Who painted the Mona Lisa portrait?", "output": "Leonardo"},
        {"instruction": "How do whales sleep?", "output": "Half at a time"},
        {"instruction": "Where hangs the Mona Lisa portrait?", "output": "In the Louvre"},
        {"instruction": "How do whales sing?", "output": "Low"},
    ]
    found = {row["chosen"]: row["rejected"] for row in built(Negatives(how="near"), rows)}
    assert found == {
        "Leonardo": "In the Louvre",
        "In the Louvre": "Leonardo",
        "Low": "Half at a time",
        "Half at a time": "Low",
    }
    assert Nearest(["a b", "b c d", "x", "a c"]).to(0, 9) == [1, 3]
    assert Nearest(["a b", "b c", "b", "b", "a z"]).to(0, 9)[0] == 4  # the rarer word counts more


def test_wrong_labels_of_labelled_texts_are_contrastive_rows() -> None:
    rows = built(Negatives(how="wrong-label", count=2), LABELLED)
    for row, own in zip(rows, LABELLED, strict=True):
        assert (row["anchor"], row["positive"]) == (own["text"], own["label"])
        assert sorted([*row["negatives"], row["positive"]]) == ["a", "b", "c"]
    talk = [{"instruction": one["text"], "output": one["label"]} for one in LABELLED]
    pairs = built(Negatives(how="wrong-label"), talk)
    assert all(row["rejected"] in set("abc") - {row["chosen"]} for row in pairs)
    assert len({row["rejected"] for row in pairs}) == 3
    with pytest.raises(UserError) as none:
        built(Negatives(how="wrong-label"), ROWS)
    assert none.value.code == "no-labels"


def test_an_altered_answer_has_one_thing_wrong() -> None:
    rows = [
        {"instruction": "a", "output": "It has 12 sides and 3.50 m."},
        {"instruction": "b", "output": "We met Ada Lovelace at noon."},
        {"instruction": "c", "output": "We saw Bob there."},
        {"instruction": "d", "output": "nothing to change"},
    ]
    assert dropped(Negatives(how="altered"), rows) == [NONE_FOUND]
    for row in built(Negatives(how="altered", count=2), rows):
        old, new = row["made"]["changed"]
        assert row["chosen"].replace(old, new, 1) == row["rejected"] != row["chosen"]
        assert old in ("12", "3.50", "Ada Lovelace", "Bob")
        if old == "3.50":
            assert abs(float(new) - 3.5) < 0.021
            assert len(new.partition(".")[2]) == 2


def test_texts_that_belong_together_get_texts_that_do_not() -> None:
    rows = [{"anchor": one["instruction"], "positive": one["output"], "negatives": ["given"]} for one in ROWS]
    for row, own in zip(built(Negatives(count=2), rows), rows, strict=True):
        assert row["negatives"][0] == "given"
        assert len(row["negatives"]) == 3
        assert own["positive"] not in row["negatives"]
        assert set(row["negatives"][1:]) <= {one["positive"] for one in rows}
    scored = {"sentence1": "a", "sentence2": "b", "score": 1.0}
    assert dropped(Negatives(), [scored]) == ["the row has no answer, label or text that belongs to it"]


@pytest.mark.parametrize("of", ["any", "alike", "answers"])
@pytest.mark.parametrize("form", ["turns", "text"])
def test_examples_come_before_and_never_tell_the_answer(of: Any, form: Any) -> None:
    rows = [*ROWS, *ROWS, {"instruction": "what is the CAPITAL of france?", "output": "Paris again"}]
    for row, own in zip(built(FewShot(shots=3, of=of, form=form), rows), rows, strict=True):
        *shown, question, answer = [turn["content"] for turn in row["messages"]]
        assert answer == own["output"]
        assert question.endswith(own["instruction"])
        before = "\n".join(shown) if form == "turns" else question.removesuffix(own["instruction"])
        assert own["instruction"].casefold() not in before.casefold()
        places = [int(place.partition(":")[2]) - 1 for place in row["made"]["shots"]]
        assert len({rows[place]["instruction"].casefold() for place in places}) == 3
        for place in places:
            assert rows[place]["instruction"] in before
            assert rows[place]["output"] in before


def test_examples_are_not_made_from_the_same_row() -> None:
    rows = [
        {"instruction": f"wording {number} of {number // 2}", "output": "x", "made": {"file": "a", "line": number // 2}}
        for number in range(8)
    ]
    for number, row in enumerate(built(FewShot(shots=3), rows)):
        origins = [(int(place.partition(":")[2]) - 1) // 2 for place in row["made"]["shots"]]
        assert sorted([*origins, number // 2]) == [0, 1, 2, 3]


def test_one_example_of_each_answer() -> None:
    rows = [{"instruction": f"ask {number}", "output": "abc"[number % 3]} for number in range(30)]
    for row in built(FewShot(shots=3, of="answers"), rows):
        assert Counter(turn["content"] for turn in row["messages"][1:-1:2]) == Counter("abc")


def test_too_few_rows_and_raw_rows_are_counted() -> None:
    assert dropped(FewShot(shots=6), ROWS) == ["there are too few other rows for its examples"] * 6
    raw = {"prompt": "a", "completion": "b"}
    assert "joined as they are" in dropped(FewShot(), [raw])[0]


def test_the_system_prompt_stays_in_front() -> None:
    rows = [{**row, "system": "Be brief."} for row in ROWS]
    for row in built(FewShot(shots=2), rows):
        assert [turn["role"] for turn in row["messages"]] == ["system", *["user", "assistant"] * 3]


RANKED = {"prompt": "q", "responses": ["best", "good", "bad", "worst"], "scores": [9, 8, 3, 1]}


@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        ({}, ["best>good", "best>bad", "best>worst", "good>bad", "good>worst", "bad>worst"]),
        ({"which": "neighbours"}, ["best>good", "good>bad", "bad>worst"]),
        ({"which": "ends"}, ["best>worst"]),
        ({"which": "neighbours", "margin": 2}, ["good>bad"]),
        ({"margin": 5.5}, ["best>bad", "best>worst", "good>worst"]),
    ],
)
def test_ranked_answers_as_pairs(options: dict[str, Any], pairs: list[str]) -> None:
    rows = built(Pairs(**options), [RANKED])
    assert [f"{row['chosen']}>{row['rejected']}" for row in rows] == pairs
    assert dropped(Pairs(margin=50), [RANKED]) == ["no two answers differ enough"]


def test_marked_answers_are_paired_within_their_question_and_pairs_are_marked() -> None:
    marked = [
        {"prompt": "q", "completion": "a", "label": True},
        {"prompt": " Q", "completion": "b", "label": False},
        {"prompt": "q", "completion": "c", "label": False},
        {"prompt": "other", "completion": "d", "label": True},
        {"prompt": "other", "completion": "d", "label": False},
    ]
    assert [(row["chosen"], row["rejected"]) for row in built(Pairs(), marked)] == [("a", "b"), ("a", "c")]
    assert dropped(Pairs(), marked) == ["no unwanted answer to the same question"]
    rows = built(Marks(), [RANKED])
    assert [(row["completion"], row["label"]) for row in rows] == [
        ("best", True),
        ("good", False),
        ("bad", False),
        ("worst", False),
    ]
    assert [row["label"] for row in built(Marks(threshold=3), [RANKED])] == [True, True, True, False]
    assert dropped(Marks(threshold=3), [{"prompt": "q", "chosen": "a", "rejected": "b"}]) == [
        "its answers have no scores"
    ]
