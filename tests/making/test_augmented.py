"""Noise, exchanged names, turns and chunks."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from built import built, dropped

from tunesmith.errors import UserError
from tunesmith.making.building.chunks import Chunks
from tunesmith.making.building.entities import Entities
from tunesmith.making.building.noise import Noise
from tunesmith.making.building.turns import Turns

TEXT = "this film is not a bad one and never gets slow"


def noisy(how: str, **options: Any) -> list[str]:
    rows = built(Noise(how=how, keep=False, **options), [{"text": TEXT, "label": "good", "id": 4}])
    assert all((row["label"], row["id"], row["made"]["by"]) == ("good", 4, how) for row in rows)
    return [row["text"] for row in rows]


def test_swapped_words_are_the_same_words() -> None:
    for text in noisy("swap", copies=5):
        assert Counter(text.split()) == Counter(TEXT.split())
        moved = sum(one != other for one, other in zip(text.split(), TEXT.split(), strict=True))
        assert moved == 2
        assert [text.split().index(word) for word in ("not", "never")] == [3, 8]


def test_deleted_words_are_gone_and_what_denies_stays() -> None:
    for text in noisy("delete", copies=8, share=0.3):
        assert len(text.split()) == 8
        assert {"not", "never"} <= set(text.split())
        left = iter(TEXT.split())
        assert all(word in left for word in text.split())  # in their order
        assert "  " not in text


def test_inserted_signs_add_no_word() -> None:
    for text in noisy("insert", copies=5, share=0.2):
        signs = [part for part in text.split() if part in ".;?:!,"]
        assert len(signs) == 2
        assert [part for part in text.split() if part not in signs] == TEXT.split()


def test_copies_are_unlike_each_other_and_the_row_comes_first() -> None:
    rows = built(Noise(copies=4), [{"text": TEXT, "label": "good"}])
    assert rows[0]["text"] == TEXT
    assert len({row["text"] for row in rows}) == 5
    question = {"instruction": "name all of the large rivers", "input": "a b c d e f", "output": "none"}
    (row,) = built(Noise(keep=False), [question])
    assert (row["input"], row["output"]) == ("a b c d e f", "none")
    assert row["instruction"] != question["instruction"]


def test_what_noise_cannot_change_is_counted() -> None:
    assert dropped(Noise(), [{"text": "too short", "label": 1}]) == ["its text has fewer than 4 words"]
    tagged = {"tokens": list("abcdef"), "tags": list("XXXXXX")}
    assert dropped(Noise(), [tagged]) == ["the row points into its text, which must stay as it is"]
    assert dropped(Noise(how="swap", copies=9), [{"text": "a a a a", "label": 1}]) == ["no other copy is found"] * 9


CITIES = [
    {"tokens": ["Ada", "Lovelace", "likes", "Rome"], "tags": ["B-PER", "I-PER", "O", "B-LOC"]},
    {"tokens": ["Bob", "hates", "New", "York", "and", "Bob"], "tags": ["B-PER", "O", "B-LOC", "I-LOC", "O", "B-PER"]},
]


def test_tagged_names_take_their_tags_along() -> None:
    rows = built(Entities(copies=3, keep=False), CITIES)
    assert rows
    for row in rows:
        own = CITIES[row["made"]["line"] - 1]
        names = row["made"]["names"]
        assert names
        text = " ".join(own["tokens"])
        for old, new in names.items():
            assert text.count(old) == " ".join(row["tokens"]).count(new) or old in names.values()
        tags = dict(zip(row["tokens"], row["tags"], strict=True))
        expected = {
            "Ada": "B-PER",
            "Lovelace": "I-PER",
            "Bob": "B-PER",
            "Rome": "B-LOC",
            "New": "B-LOC",
            "York": "I-LOC",
        }
        assert {word: tag for word, tag in tags.items() if tag != "O"} == {
            word: tag for word, tag in expected.items() if word in tags
        }


def test_labelled_places_move_with_their_names() -> None:
    rows = [
        {"text": "Ada-Lou (of Rome!) sings.", "spans": [[0, 7, "PER"], [12, 16, "LOC"]]},
        {"text": "Bob's home: New York.", "spans": [[0, 3, "PER"], [12, 20, "LOC"]]},
    ]
    made = built(Entities(copies=3, keep=False), rows)
    assert made
    for row in made:
        said = {row["text"][one["start"] : one["end"]]: one["label"] for one in row["spans"]}
        assert set(said) <= {"Ada-Lou", "Bob", "Rome", "New York"}
        assert sorted(said.values()) == ["LOC", "PER"]


def test_listed_names_are_exchanged_everywhere_in_a_row(tmp_path: Path) -> None:
    path = tmp_path / "names.yaml"
    path.write_text("person: [Ada, Bob, Ann]\ncity: [Rome, Oslo]\n")
    row = {"instruction": "Book a room in Rome for Ada, not for Adam.", "input": "Ada", "output": "Done: Ada, Rome."}
    for made in built(Entities(lists=str(path), copies=2, keep=False), [row]):
        names = made["made"]["names"]
        assert set(names) == {"Ada", "Rome"}
        assert (names["Rome"], names["Ada"] in ("Bob", "Ann")) == ("Oslo", True)
        assert made["instruction"] == f"Book a room in Oslo for {names['Ada']}, not for Adam."
        assert (made["input"], made["output"]) == (names["Ada"], f"Done: {names['Ada']}, Oslo.")
    both = {"instruction": "Ada and Bob", "output": "Ada"}
    (made,) = built(Entities(lists=str(path), keep=False), [both])
    assert len(made["made"]["names"]) == 1  # only one name is free
    assert dropped(Entities(lists=str(path)), [{"text": "nobody", "label": 1}]) == [
        "it has no name that could be another"
    ]


def test_names_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as none:
        built(Entities(), [{"text": "a", "label": 1}])
    assert none.value.code == "no-names"
    for text in ("a", "person: [Ada]", "person: Ada", "{}"):
        (tmp_path / "n.yaml").write_text(text)
        with pytest.raises(UserError) as bad:
            built(Entities(lists=str(tmp_path / "n.yaml")), [{"text": "a", "label": 1}])
        assert bad.value.code == "no-names"


TALK = {
    "messages": [
        {"role": role, "content": text}
        for role, text in [
            ("system", "Be brief."),
            ("user", "one?"),
            ("assistant", "1"),
            ("user", "two?"),
            ("assistant", "2"),
        ]
    ],
    "task": "count",
}


def test_a_row_for_every_answer_with_its_history_or_without() -> None:
    rows = built(Turns(), [TALK])
    assert [[turn["content"] for turn in row["messages"]] for row in rows] == [
        ["Be brief.", "one?", "1"],
        ["Be brief.", "one?", "1", "two?", "2"],
    ]
    assert [(row["made"]["turn"], row["made"]["of"], row["task"]) for row in rows] == [(1, 2, "count"), (2, 2, "count")]
    alone = built(Turns(history=False), [TALK])
    assert [turn["content"] for turn in alone[1]["messages"]] == ["Be brief.", "two?", "2"]
    assert len(built(Turns(least=2), [TALK])) == 1
    assert dropped(Turns(least=3), [TALK]) == ["it has fewer than 3 answers"]
    assert dropped(Turns(), [{"text": "a"}]) == ["the row is no conversation with answers"]


def document(sentences: int) -> str:
    return " ".join(f"Sentence {number} has exactly these seven words." for number in range(sentences))


def test_chunks_are_whole_sentences_and_together_the_document() -> None:
    text = document(50)
    rows = built(Chunks(words=30), [{"text": text, "title": "x"}])
    assert " ".join(row["text"] for row in rows) == text
    assert {len(row["text"].split()) for row in rows} == {28, 14}
    for row in rows:
        made = row["made"]
        assert text[made["start"] : made["end"]] == row["text"]
        assert (made["of"], row["title"]) == (len(rows), "x")
        assert row["text"].startswith("Sentence")
        assert row["text"].endswith("words.")


def test_chunks_overlap_by_whole_sentences() -> None:
    rows = built(Chunks(words=30, overlap=10), [{"text": document(20)}])
    for one, other in pairwise(rows):
        assert one["text"].split(". ")[-1].rstrip(".") == other["text"].split(". ")[0]
    uneven = " ".join(" ".join(["word"] * (3 + number * 5 % 13)) + "." for number in range(60))
    assert max(len(row["text"].split()) for row in built(Chunks(words=20, overlap=12), [{"text": uneven}])) <= 20
    with pytest.raises(UserError, match="overlap"):
        Chunks(words=10, overlap=10)


def test_long_sentences_are_cut_at_words_and_unspaced_ones_too() -> None:
    endless = " ".join(f"w{number}" for number in range(100))
    rows = built(Chunks(words=30, least=0), [{"text": endless}])
    assert [len(row["text"].split()) for row in rows] == [30, 30, 30, 10]
    chinese = "我喜欢读书。" * 20
    rows = built(Chunks(words=50, least=0), [{"text": chinese}])
    assert "".join(row["text"] for row in rows) == chinese
    assert all(row["text"].endswith("。") for row in rows)
    assert max(len(row["text"]) for row in rows) <= 50


def test_short_chunks_and_rows_that_are_no_documents_are_counted() -> None:
    assert dropped(Chunks(), [{"text": "a b"}]) == ["the chunk is too short"]
    assert dropped(Chunks(), [{"text": "a b", "label": 1}]) == ["the row is no document"]
