"""Labelled rows: how they are recognised, read and kept, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tiny_task import bert_tokenizer
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow
from tunesmith.data.prepare import Prepared, prepare, training_records
from tunesmith.data.recognise import recognise
from tunesmith.data.sources import open_source
from tunesmith.errors import UserError
from tunesmith.objectives.classify import Classify
from tunesmith.objectives.reading import labels_in
from tunesmith.objectives.span import Span
from tunesmith.recipe.schema import DataConfig

CONTEXT = "the red cat is very blue ."


@pytest.mark.parametrize(
    ("row", "form", "text", "pair", "labels"),
    [
        ({"text": "a", "label": 1}, "labelled", "a", None, ("1",)),
        ({"sentence": "a", "label": True}, "labelled", "a", None, ("true",)),
        ({"text": "a", "labels": ["x", 2.0]}, "labelled", "a", None, ("x", "2")),
        ({"text": "a", "label": 3.25}, "labelled", "a", None, ("3.25",)),
        ({"premise": "a", "hypothesis": "b", "label": " yes "}, "labelled", "a", "b", ("yes",)),
        ({"tokens": ["a", "bc"], "ner_tags": [0, 4]}, "tagged", "a bc", None, ("0", "4")),
        ({"question": "q", "context": "abc", "answers": [{"text": "b", "answer_start": 1}]}, "squad", "abc", "q", ()),
        (
            {"question": "q", "context": "abc", "answers": {"text": [" b"], "answer_start": [0]}},
            "squad",
            "abc",
            "q",
            None,
        ),
        ({"text": "only text"}, "text", "only text", None, None),
    ],
)
def test_rows_are_recognised_and_read(row: dict[str, Any], form: str, text: str, pair: str | None, labels: Any) -> None:
    found = recognise([row], path="x", columns={})
    assert found.format.name == form
    assert found.reason
    if form == "squad" and labels is None:
        with pytest.raises(BadRow, match="answer_start"):
            found.format.read(row)
        return
    record = found.format.read(row)
    assert (record.text, record.pair, record.labels) == (text, pair, labels)


def test_a_row_may_lack_its_label() -> None:
    """Another column may be what is learned (several tasks); who needs the label says that it is missing."""
    record = FORMATS.load("labelled").read({"text": "a", "label": None, "mood": "good"})
    assert (record.labels, record.meta["mood"]) == (None, "good")
    with pytest.raises(BadRow, match="no label"):
        labels_in(record)


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("labelled", {"text": " ", "label": 1}, "empty"),
        ("labelled", {"text": "a", "label": ""}, "empty"),
        ("labelled", {"text": "a", "label": {"b": 1}}, "not a name"),
        ("tagged", {"tokens": ["a", "b"], "tags": ["x"]}, "2 words have 1 tags"),
        ("tagged", {"tokens": ["a", " "], "tags": ["x", "y"]}, "empty"),
        ("squad", {"question": "q", "context": "abc", "answers": [{"text": "c", "answer_start": 0}]}, "does not stand"),
        ("squad", {"question": "q", "context": "abc", "answers": "abc"}, "not a list"),
    ],
)
def test_what_is_wrong_is_said(name: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        FORMATS.load(name).read(row)


def values(path: Path, **options: Any) -> list[Any]:
    return [row.value for row in open_source(str(path), **options).rows()]


def test_files_of_labelled_rows(tmp_path: Path) -> None:
    lines = tmp_path / "reviews.train"
    lines.write_text("1 very good\n\n__label__bad so so\nlonely\n")
    first, second, broken = values(lines)
    assert (first, second) == ({"text": "very good", "label": "1"}, {"text": "so so", "label": "bad"})
    assert "blank" in broken.reason
    tags = tmp_path / "names.conll"
    tags.write_text("-DOCSTART- O\n\nAnna NN B-PER\nsleeps VB O\n\nOslo NN B-LOC\n")
    assert values(tags) == [
        {"tokens": ["Anna", "sleeps"], "tags": ["B-PER", "O"]},
        {"tokens": ["Oslo"], "tags": ["B-LOC"]},
    ]
    splits = tmp_path / "intents.json"
    splits.write_text(json.dumps({"train": [["pay it", "pay"]], "val": []}))
    assert values(splits, split="train") == [{"text": "pay it", "label": "pay"}]
    for split, code in ((None, "unknown-split"), ("trian", "unknown-split")):
        with pytest.raises(UserError) as caught:
            values(splits, split=split)
        assert caught.value.code == code
    squad = tmp_path / "squad.json"
    asked = {"id": "7", "question": "q", "answers": [{"text": "b", "answer_start": 1}]}
    squad.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [{"context": "abc", "qas": [asked, asked]}]}]}))
    assert [(row["context"], row["question"], row["id"]) for row in values(squad)] == [("abc", "q", "7")] * 2


def prepared(path: Path, objective: Any, cache: Path, **options: Any) -> Prepared:
    config = DataConfig(train=[{"path": str(path)}], **{"validation": 0.0, "max_tokens": 64, "workers": 1, **options})
    encoder = ChatEncoder.build(bert_tokenizer())
    return prepare(config, objective.encode, encoder, seed=0, cache=cache, options_key=repr(objective))


def test_labels_survive_the_store_and_name_it(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"text": CONTEXT, "pair": "the dog", "label": one}) + "\n" for one in "aba"))
    objective = Classify(labels=["a", "b"], multi_label=False)
    found = prepared(file, objective, tmp_path / "cache")
    assert [example.labels.tolist() for example in found.train if example.labels is not None] == [[0], [1], [0]]
    assert {example.second for example in found.train} == {9}
    assert [example.targets for example in found.train] == [1, 1, 1]
    other = prepared(file, Classify(labels=["b", "a"], multi_label=False), tmp_path / "cache")
    assert other.key != found.key
    assert [example.labels.tolist() for example in other.train if example.labels is not None] == [[1], [0], [1]]
    assert [record.labels for record in training_records(DataConfig(train=[{"path": str(file)}]))] == [
        ("a",),
        ("b",),
        ("a",),
    ]


def test_questions_of_one_context_stay_on_one_side(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {
            "question": f"which {number} ?",
            "context": f"{CONTEXT} {number // 4}",
            "answers": [{"text": "red", "answer_start": 4}],
        }
        for number in range(80)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = prepared(file, Span(window=64), tmp_path / "cache", validation=0.3)
    sides = [{example.row // 4 for example in store} for store in (found.train, found.validation)]
    assert not sides[0] & sides[1]
    assert all(sides)


def test_every_real_answer_is_found_by_its_offsets(real_data: Path, tmp_path: Path) -> None:
    """All 1,190 answers of XQuAD stand where the file says; windows lose no character of a context."""
    records = list(training_records(DataConfig(train=[{"path": str(real_data / "qa" / "xquad.en.json")}])))
    assert len(records) == 1190
    assert all(record.spans for record in records)
    encoder = ChatEncoder.build(bert_tokenizer())
    objective = Span(window=256, overlap=120)
    windows = 0
    for record in records[::50]:
        encodings = objective.encode(record, encoder)
        windows += len(encodings)
        assert any(one.labels is not None and not one.labels[0] & 2 for one in encodings)
        covered = {at for one in objective.windows(record, encoder) for span in one.spans for at in range(*span)}
        assert {at for at, letter in enumerate(record.text or "") if not letter.isspace()} <= covered
    assert windows > 2 * len(records[::50])


def test_real_sentiment_and_intents_are_read(real_data: Path) -> None:
    folder = real_data / "classification"
    train = list(training_records(DataConfig(train=[{"path": str(folder / "stsa.binary.train")}])))
    assert (len(train), {label for record in train for label in record.labels or ()}) == (6920, {"0", "1"})
    intents = DataConfig(train=[{"path": str(folder / "clinc_full.json"), "split": "val"}])
    records = list(training_records(intents))
    assert (len(records), len({record.labels for record in records})) == (3000, 150)
