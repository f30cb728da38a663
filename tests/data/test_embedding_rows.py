"""Rows of texts that belong together: how they are recognised and read, and what is wrong with them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tiny_task import bert_tokenizer
from tunesmith.contracts.data import Encoding, Record
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.fit import fit
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow
from tunesmith.data.recognise import recognise
from tunesmith.objectives.embed import Embed


def encoder() -> ChatEncoder:
    return ChatEncoder.build(bert_tokenizer(), "auto")


@pytest.mark.parametrize(
    ("row", "text", "pair", "others", "labels"),
    [
        ({"anchor": "a", "positive": "b"}, "a", "b", (), None),
        ({"query": "a", "positive": "b", "negative": "c"}, "a", "b", ("c",), None),
        ({"anchor": "a", "positive": "b", "negatives": ["c", "d"]}, "a", "b", ("c", "d"), None),
        ({"sentence1": "a", "sentence2": "b", "score": 3}, "a", "b", (), ("3.0",)),
        ({"sentence1": "a", "sentence2": "b", "similarity": "0.25"}, "a", "b", (), ("0.25",)),
    ],
)
def test_rows_are_recognised_and_read(row: dict[str, Any], text: str, pair: str, others: Any, labels: Any) -> None:
    found = recognise([{**row, "topic": "x"}], path="x", columns={})
    assert found.format.name == "embedding"
    record = found.format.read({**row, "topic": "x"})
    assert (record.text, record.pair, record.others, record.labels) == (text, pair, others, labels)
    assert record.meta == {"topic": "x"}


def test_labelled_pairs_stay_labelled_pairs() -> None:
    row = {"sentence1": "a", "sentence2": "b", "label": 1}
    assert recognise([row], path="x", columns={}).format.name == "labelled"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"anchor": "a"}, "'positive' is missing"),
        ({"anchor": "", "positive": "b"}, "'anchor' is empty"),
        ({"anchor": "a", "positive": "b", "negatives": ["c", ""]}, "'negatives' is empty"),
        ({"anchor": "a", "positive": "b", "score": "much"}, "not a number"),
        ({"anchor": "a", "positive": "b", "score": float("nan")}, "no finite number"),
    ],
)
def test_rows_that_cannot_be_read(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        FORMATS.load("embedding").read(row)


def test_each_text_keeps_its_closing_token_when_it_is_cut() -> None:
    """Texts of 7, 4 and 9 tokens cut to 5: as the model's own tokenizer truncates each of them."""
    tokenizer = bert_tokenizer()
    texts = ["the red cat and dog", "a dog", "the number is very very blue ."]
    (one,) = Embed().encode(Record(text=texts[0], pair=texts[1], others=(texts[2],)), encoder())
    (cut,) = fit([one], max_tokens=5, overlong="cut").encodings
    edges = (*cut.branches, len(cut.ids))
    wanted = [tokenizer(text, truncation=True, max_length=5)["input_ids"] for text in texts]
    assert [cut.ids[start:end] for start, end in pairwise(edges)] == wanted
    assert cut.labels == [0] * len(cut.ids)
    assert all(cut.trained)
    assert cut.extras == one.extras


def test_what_is_stored_of_targets_is_cut_with_them() -> None:
    """Five targets with two numbers each, and one number for the row: three tokens further on two targets are left."""
    extras = {"teacher": [float(at) for at in range(10)], "margin": [7.0]}
    encoding = Encoding([1, 2, 3, 4, 5, 6, 7], [False, False, True, True, True, True, True], extras=extras)
    (cut,) = fit([encoding], max_tokens=4, overlong="cut").encodings
    assert (cut.ids, cut.extras) == ([1, 2, 3, 4], {"teacher": [0.0, 1.0, 2.0, 3.0], "margin": [7.0]})
    pieces = fit([encoding], max_tokens=4, overlong="split").encodings
    assert [piece.ids for piece in pieces] == [[1, 2, 3, 4], [4, 5, 6, 7]]
    assert [list(piece.extras["teacher"]) for piece in pieces] == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0, 8.0, 9.0]]
