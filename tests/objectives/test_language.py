"""What of a row the objectives of next tokens learn: which of its tokens are targets, and how documents are cut."""

from __future__ import annotations

from typing import Any

import pytest

from tiny_base import make_tokenizer
from tunesmith.contracts.data import Encoding, Message, Record
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError
from tunesmith.objectives.pretrain import Pretrain
from tunesmith.objectives.sft import Sft

TALK = Record(
    messages=(
        Message("user", "the red cat"),
        Message("assistant", "a blue dog"),
        Message("user", "which number"),
        Message("assistant", "very green"),
    )
)
ENCODER = ChatEncoder.build(make_tokenizer(), "auto")


def learned(encoding: Encoding) -> str:
    """The text of the targets."""
    return ENCODER.decode([token for token, trained in zip(encoding.ids, encoding.trained, strict=True) if trained])


@pytest.mark.parametrize(
    ("train_on", "inside", "outside"),
    [
        ("answers", ["blue dog", "very green"], ["red cat", "which number"]),
        ("last-answer", ["very green"], ["blue dog", "red cat", "which number"]),
        ("everything", ["blue dog", "very green", "red cat", "which number"], []),
    ],
)
def test_supervised_tuning_learns_what_it_is_told(train_on: Any, inside: list[str], outside: list[str]) -> None:
    text = " ".join(learned(one) for one in Sft(train_on=train_on).encode(TALK, ENCODER))
    assert all(words in text for words in inside)
    assert not any(words in text for words in outside)


def test_pretraining_learns_conversations_whole() -> None:
    text = " ".join(learned(one) for one in Pretrain().encode(TALK, ENCODER))
    assert all(words in text for words in ("red cat", "blue dog", "which number", "very green"))


@pytest.mark.parametrize("piece", [4, 7])
def test_documents_are_cut_into_pieces_and_every_token_is_learned_once(piece: int) -> None:
    document = "the red cat and the blue dog are very very green and the number is red"
    (whole,) = Pretrain().encode(Record(text=document), ENCODER)
    found = Pretrain(max_piece=piece).encode(Record(text=document), ENCODER)
    assert len(found) > 2
    assert max(len(one.ids) for one in found) <= piece
    targets = [token for one in found for token, trained in zip(one.ids[1:], one.trained[1:], strict=True) if trained]
    assert targets == list(whole.ids[1:])


def test_text_needs_a_marker_to_be_answered() -> None:
    with pytest.raises(UserError) as caught:
        Sft().encode(Record(text="the red cat"), ENCODER)
    assert caught.value.code == "no-response-marker"
    (one,) = Sft(response_marker="cat").encode(Record(text="the red cat is blue"), ENCODER)
    assert "blue" in learned(one)
    assert "red" not in learned(one)
    with pytest.raises(BadRow):
        Sft(response_marker="dog").encode(Record(text="the red cat"), ENCODER)
