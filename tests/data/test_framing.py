"""Texts as classifiers read them: against the tokenizer's own call, cut, and in pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tiny_base import make_tokenizer
from tiny_task import bert_tokenizer
from tunesmith.contracts.data import Encoding
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.collate import labelled
from tunesmith.data.fit import fit
from tunesmith.data.store import example_of

TEXT, OTHER = "the red cat is very blue .", "which colour is the dog ?"


def test_an_encoder_reads_what_its_tokenizer_makes() -> None:
    tokenizer = bert_tokenizer()
    encoder = ChatEncoder.build(tokenizer)
    assert encoder.reads_first
    assert encoder.framed(TEXT).ids == tokenizer(TEXT)["input_ids"]
    own, pair = tokenizer(TEXT, OTHER, return_token_type_ids=True), encoder.framed(TEXT, OTHER)
    assert pair.ids == own["input_ids"]
    assert pair.second == own["token_type_ids"].index(1)
    assert pair.closing == 1
    for text, words in enumerate((TEXT, OTHER)):
        assert " ".join(words[slice(*pair.spans[at])] for at in pair.of(text)) == words


@pytest.mark.parametrize("first", [True, False])
def test_a_decoder_reads_to_the_end_of_text(first: bool) -> None:
    tokenizer = make_tokenizer()
    encoder = ChatEncoder.build(tokenizer)
    framed = encoder.framed(TEXT) if first else encoder.framed(TEXT, OTHER)
    assert not encoder.reads_first
    assert (framed.ids[-1], framed.closing, framed.second) == (tokenizer.eos_token_id, 1, 0)
    assert framed.ids[:-1] == tokenizer(TEXT if first else f"{TEXT}\n{OTHER}")["input_ids"]
    for text, words in enumerate([TEXT] if first else [TEXT, OTHER]):
        assert "".join(words[slice(*framed.spans[at])] for at in framed.of(text)) == words


def test_cutting_keeps_what_is_read() -> None:
    """The closing token stays; without one the new last token is read; labels of cut words go with their words."""
    first = Encoding([2, 5, 6, 7, 8, 3], [True, *[False] * 5], labels=[1], closing=1)
    last = Encoding([5, 6, 7, 8, 9, 2], [*[False] * 5, True], labels=[1], closing=1)
    bare = Encoding([5, 6, 7, 8, 9, 4], [*[False] * 5, True], labels=[1])
    words = Encoding([2, 5, 6, 7, 8, 3], [False, True, False, True, True, False], labels=[7, 8, 9], closing=1)
    (one,), (two,), (three,), (four,) = (
        fit([encoding], max_tokens=4, overlong="cut").encodings for encoding in (first, last, bare, words)
    )
    assert (one.ids, one.trained, one.labels) == ([2, 5, 6, 3], [True, False, False, False], [1])
    assert (two.ids, two.trained) == ([5, 6, 7, 2], [False, False, False, True])
    assert (three.ids, three.trained) == ([5, 6, 7, 8], [False, False, False, True])
    assert (four.ids, four.trained, four.labels) == ([2, 5, 6, 3], [False, True, False, False], [7])
    assert fit([first], max_tokens=4, overlong="drop").encodings == []


def test_a_batch_reads_the_marked_rows_and_knows_the_second_text() -> None:
    rows: list[Any] = [
        Encoding([2, 5, 3, 6, 3], [True, *[False] * 4], labels=[1], second=3),
        Encoding([2, 5, 3], [True, False, False], labels=[0]),
    ]
    batch = labelled([example_of(one, row) for row, one in enumerate(rows)])
    assert batch.readout.rows.tolist() == [0, 5]
    assert batch.readout.labels.tolist() == [1, 0]
    assert batch.readout.unit.tolist() == [0, 1]
    assert batch.main.types is not None
    assert batch.main.types.tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert labelled([example_of(rows[1], 0)]).main.types is None


def test_targets_count_a_first_token_only_where_it_is_read() -> None:
    marks = [True, False, True]
    assert example_of(Encoding([1, 2, 3], marks, labels=[4, 5]), 0).targets == 2
    assert example_of(Encoding([1, 2, 3], marks), 0).targets == 1
    assert np.array_equal(example_of(Encoding([1, 2, 3], marks, labels=[4, 5]), 0).labels, [4, 5])
