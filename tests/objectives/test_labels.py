"""What training rows decide, and what rows may not say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tiny_base import make_tokenizer
from tiny_task import bert_tokenizer
from tunesmith.contracts.data import Record
from tunesmith.contracts.policy import Outputs
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.formats.base import BadRow
from tunesmith.data.store import example_of
from tunesmith.errors import UserError
from tunesmith.evaluation.task import Scored, number_said
from tunesmith.objectives.classify import Classify
from tunesmith.objectives.regress import Regress, Scale
from tunesmith.objectives.span import CONTEXT, END, START, Span
from tunesmith.objectives.tokens import Tokens


def rows(*labels: Any) -> list[Record]:
    return [Record(text="the cat", labels=one if isinstance(one, tuple) else (one,)) for one in labels]


def learned(objective: Any, records: list[Record]) -> Any:
    return type(objective)(**{**objective.model_dump(exclude_unset=True), **objective.learn(records, max_tokens=64)})


def test_labels_are_those_of_the_rows_sorted() -> None:
    found = learned(Classify(), rows("b", "a", "b"))
    assert (found.labels, found.multi_label, found.head().problem) == (["a", "b"], False, "class")
    assert learned(Classify(), rows("10", "9", "-1")).labels == ["-1", "9", "10"]
    assert learned(Classify(labels=["b", "a", "c"]), rows("a", "b")).labels == ["b", "a", "c"]


def test_several_labels_are_noticed() -> None:
    assert learned(Classify(), rows(("a", "b"), "a")).head().problem == "classes"
    assert learned(Classify(), rows((), "a", "b")).head().problem == "classes"
    assert learned(Classify(multi_label=True), rows("a", "b")).head().problem == "classes"


def test_nothing_is_read_where_nothing_is_open() -> None:
    def never() -> Any:
        raise AssertionError("rows were read")
        yield

    assert Classify(labels=["a", "b"], multi_label=False).learn(never(), max_tokens=9) == {}
    assert Tokens(labels=["a", "b"]).learn(never(), max_tokens=9) == {}
    assert Regress().learn(never(), max_tokens=9) == {}
    assert Span().learn(never(), max_tokens=9) == {"window": 9}


def test_balanced_weights_by_hand() -> None:
    """Three of a, one of b: 4 / (2·3) and 4 / (2·1); each class weighs 2 in total."""
    found = learned(Classify(class_weights="balanced"), rows("a", "a", "a", "b"))
    assert found.class_weights == pytest.approx({"a": 2 / 3, "b": 2.0})
    several = learned(Classify(class_weights="balanced"), rows(("a", "b"), "a", (), "a"))
    assert several.class_weights == pytest.approx({"a": 1 / 3, "b": 3.0})


@pytest.mark.parametrize(
    ("objective", "records", "code"),
    [
        (Classify(), rows("a", "a"), "one-class"),
        (Classify(), [Record(text="x")], "one-class"),
        (Tokens(), rows(("a", "a")), "one-class"),
        (Classify(), rows(*map(str, range(1001))), "too-many-labels"),
        (Classify(labels=["a", "b"], class_weights="balanced"), rows("a", "a"), "label-without-rows"),
        (Classify(class_weights={"a": 1.0, "c": 2.0}), rows("a", "b"), "unknown-label"),
    ],
)
def test_rows_that_cannot_be_learned_from_are_refused(objective: Any, records: list[Record], code: str) -> None:
    with pytest.raises(UserError) as caught:
        objective.learn(records, max_tokens=64)
    assert caught.value.code == code


@pytest.mark.parametrize("tokenizer", [bert_tokenizer, make_tokenizer], ids=["bert", "decoder"])
def test_texts_are_read_where_the_model_reads_them(tokenizer: Any) -> None:
    made = tokenizer()
    encoder = ChatEncoder.build(made)
    (one,) = Classify(labels=["a", "b"], multi_label=False).encode(rows("b")[0], encoder)
    assert one.labels == [1]
    assert np.flatnonzero(one.trained).tolist() == [0 if encoder.reads_first else len(one.ids) - 1]
    assert one.ids == made("the cat")["input_ids"] + ([] if encoder.reads_first else [made.eos_token_id])


def test_unknown_labels_are_an_error_and_missing_ones_a_drop() -> None:
    encoder = ChatEncoder.build(bert_tokenizer())
    objective = Classify(labels=["joy", "anger"], multi_label=False)
    with pytest.raises(UserError, match="joi") as caught:
        objective.encode(Record(text="the cat", labels=("joi",), line=7), encoder)
    assert (caught.value.code, "row 7" in caught.value.what, "joy" in (caught.value.hint or "")) == (
        "unknown-label",
        True,
        True,
    )
    with pytest.raises(BadRow, match="no label"):
        objective.encode(Record(text="the cat"), encoder)
    with pytest.raises(BadRow, match="2 labels"):
        objective.encode(rows(("joy", "anger"))[0], encoder)


@pytest.mark.parametrize("label", ["warm", "nan", "inf"])
def test_only_finite_numbers_are_regressed(label: str) -> None:
    with pytest.raises(BadRow, match="number"):
        Regress().encode(rows(label)[0], ChatEncoder.build(bert_tokenizer()))


def test_a_number_travels_unchanged() -> None:
    (one,) = Regress().encode(rows("-2.7182817")[0], ChatEncoder.build(bert_tokenizer()))
    assert np.array(one.labels, dtype=np.int32).view(np.float32)[0] == np.float32(-2.7182817)


def test_numbers_are_standardised_by_the_training_rows() -> None:
    """2, 4, 4, 4, 5, 5, 7, 9: mean 5, deviation 2. A score of 0.5 is 6; of 9 it misses by (2 − 0.5)²."""
    objective = learned(Regress(standardise=True), rows("2", "4", "4", "4", "5", "5", "7", "9"))
    assert objective.scale == Scale(mean=5.0, deviation=2.0)
    head = objective.head()
    assert number_said(head, Scored(np.array([[0.5]]), 0.0, 1.0)) == 6.0
    (encoding,) = objective.encode(rows("9")[0], ChatEncoder.build(bert_tokenizer()))
    example = example_of(encoding, 0)
    (term,) = objective.loss(Outputs(scores=torch.tensor([[0.5]])), objective.collate([example]))
    assert term.values.tolist() == [2.25]
    assert objective.words(example) == "9"
    assert learned(Regress(standardise={"mean": 1.0}), rows("2", "4")).scale == Scale(mean=1.0)
    for alike in (rows("3", "3"), [Record(text="x")]):
        with pytest.raises(UserError) as caught:
            Regress(standardise=True).learn(alike, max_tokens=9)
        assert caught.value.code == "one-number"


def test_labels_are_told_in_words() -> None:
    encoder = ChatEncoder.build(bert_tokenizer())
    several = Classify(labels=["a", "b"], multi_label=True)
    said = [several.words(example_of(several.encode(row, encoder)[0], 0)) for row in rows(("b", "a"), ())]
    assert said == ["a, b", "(none)"]
    words = Tokens(labels=["O", "X"])
    record = Record(text="the cat", labels=("O", "X"), spans=((0, 3), (4, 7)))
    assert words.words(example_of(words.encode(record, encoder)[0], 0)) == "O X"


def test_words_are_read_at_their_first_token() -> None:
    """``cat`` is one token, ``zap`` three: its first is read."""
    encoder = ChatEncoder.build(bert_tokenizer())
    record = Record(text="the zap cat", labels=("O", "X", "Y"), spans=((0, 3), (4, 7), (8, 11)))
    (one,) = Tokens(labels=["O", "X", "Y"]).encode(record, encoder)
    names = [encoder.tokens.token(number) for number in one.ids]
    assert names == ["[CLS]", "the", "z", "##a", "##p", "cat", "[SEP]"]
    assert np.flatnonzero(one.trained).tolist() == [1, 2, 5]
    assert one.labels == [0, 1, 2]


@pytest.mark.parametrize("tokenizer", [bert_tokenizer, make_tokenizer], ids=["bert", "decoder"])
def test_every_window_says_whether_it_holds_the_answer(tokenizer: Any) -> None:
    """The answer's tokens spell it in windows that hold it; others point to their first token; nothing is left out."""
    encoder = ChatEncoder.build(tokenizer())
    context = " ".join(f"the {word} cat number {at}" for at, word in enumerate(["red", "blue", "green"] * 4))
    left = context.index("number 7")
    record = Record(text=context, pair="which ?", labels=(), spans=((left, left + 8),))
    objective = Span(window=40, overlap=8)
    windows, encodings = objective.windows(record, encoder), objective.encode(record, encoder)
    assert len(windows) == len(encodings) >= 2
    assert {at for one in windows for span in one.spans for at in range(*span)} >= {
        at for at, letter in enumerate(context) if letter != " "
    }
    found = 0
    for window, encoding in zip(windows, encodings, strict=True):
        assert len(encoding.ids) <= 40
        flags = np.array(encoding.labels)
        assert np.flatnonzero(flags & CONTEXT).tolist() == list(range(window.first, window.last))
        (start,), (end,) = np.flatnonzero(flags & START), np.flatnonzero(flags & END)
        if start:
            text = context[window.spans[start - window.first][0] : window.spans[end - window.first][1]]
            assert text.strip() == "number 7"
            found += 1
        else:
            assert end == 0
    assert found >= 1


def test_a_question_without_an_answer_is_dropped_unless_asked_for() -> None:
    encoder = ChatEncoder.build(bert_tokenizer())
    record = Record(text="the red cat", pair="which ?", labels=())
    with pytest.raises(BadRow, match="unanswerable"):
        Span(window=32).encode(record, encoder)
    (one,) = Span(window=32, unanswerable=True).encode(record, encoder)
    assert one.labels is not None
    assert one.labels[0] == START | END


def test_an_answer_that_no_window_holds_drops_its_row() -> None:
    """Trained on, every window would say that there is no answer."""
    encoder = ChatEncoder.build(bert_tokenizer())
    context = " ".join(["the red cat is very blue ."] * 12)
    record = Record(text=context, pair="which ?", labels=(), spans=((8, len(context) - 8),))
    with pytest.raises(BadRow, match="overlap"):
        Span(window=40, overlap=8).encode(record, encoder)
