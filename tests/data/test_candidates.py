"""Several answers to one question as tokens: one beginning, exact answers, and what is no pair."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from small_tokenizers import KINDS, trained_tokenizer

from tiny_base import make_tokenizer
from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Candidate, Encoding, Message, Record
from tunesmith.data.candidates import branched, compared
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow
from tunesmith.data.show import answer_names, runs
from tunesmith.data.store import example_of

QUESTION = (Message("system", "be kind"), Message("user", "what is the word?"))


def record(*answers: str, scores: tuple[float | None, ...] = (), raw: bool = False) -> Record:
    scores = scores or (None,) * len(answers)
    candidates = (Candidate((Message("assistant", text),), score) for text, score in zip(answers, scores, strict=True))
    asked = (Message("user", "what is the word?"),) if raw else QUESTION
    return Record(messages=asked, candidates=tuple(candidates), raw_prompt=raw)


def whole(encoding: Encoding) -> list[tuple[list[int], list[bool]]]:
    """Each answer after the beginning."""
    begin = encoding.branches[0]
    return [
        (encoding.ids[:begin] + encoding.ids[start:end], encoding.trained[:begin] + encoding.trained[start:end])
        for start, end in pairwise((*encoding.branches, len(encoding.ids)))
    ]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("template", ["auto", "plain", "llama-2"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_is_what_it_is_alone(kind: str, template: str, raw: bool) -> None:
    """Tokens and targets are those of the conversation with that answer alone, whatever the tokenizer."""
    tokenizer = trained_tokenizer(kind)
    if template == "auto":
        tokenizer.chat_template = make_tokenizer().chat_template
    encoder = ChatEncoder.build(tokenizer, template)
    row = record("the answer is two", "the dog", "yes", raw=raw)
    encoding = branched(encoder.candidates(row))
    prompt = encoder.prompt_ids(row.messages or (), raw=encoder.joined(row))
    assert encoding.branches[0] == len(prompt)
    assert encoding.ids[: len(prompt)] == prompt
    for (ids, trained), one in zip(whole(encoding), row.candidates, strict=True):
        alone = Record(messages=((row.messages or ()) + one.messages), raw_prompt=raw)
        (wanted,) = encoder.conversation(alone, "answers")
        assert (ids, trained) == (wanted.ids, wanted.trained)


def test_earlier_answers_of_the_question_are_read_and_not_learned() -> None:
    encoder = ChatEncoder.build(make_tokenizer())
    asked = (Message("user", "one"), Message("assistant", "two"), Message("user", "three"))
    row = Record(messages=asked, candidates=tuple(Candidate((Message("assistant", text),)) for text in ("a", "b")))
    encoding = branched(encoder.candidates(row))
    assert True not in encoding.trained[: encoding.branches[0]]
    said = [encoder.decode([number for number, on in zip(*one, strict=True) if on]) for one in whole(encoding)]
    assert said == ["a", "b"]


def test_the_beginning_ends_before_the_first_target_of_any() -> None:
    """Answers that begin alike share that only where they are read, not where they are learned."""
    one = Encoding([5, 6, 7, 8, 9], [False, False, True, True, True])
    two = Encoding([5, 6, 7, 8, 4, 3], [False, False, False, True, True, True])
    assert branched([one, two]).branches == (2, 5)
    read = [Encoding(one.ids, [False] * 4 + [True], labels=[0]), Encoding(two.ids, [False] * 5 + [True], labels=[1])]
    found = branched(read)
    assert (found.branches, found.labels) == ((4, 5), [0, 1])
    assert found.ids == [5, 6, 7, 8, 9, 4, 3]
    assert found.trained == [False] * 4 + [True, False, True]


def test_an_answer_that_is_the_beginning_of_another_keeps_a_token() -> None:
    short = Encoding([5, 6, 7], [False, False, True], labels=[1])
    long = Encoding([5, 6, 7, 8], [False, False, False, True], labels=[0])
    found = branched([long, short])
    assert found.branches == (2, 4)
    assert whole(found)[1] == (short.ids, short.trained)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (record("a", "a"), "chosen and rejected are the same"),
        (record("a", "b", "a "), "two of the answers are the same"),
        (record("a", "  "), "an answer is empty"),
        (record("a"), "1 rated answer"),
        (Record(messages=QUESTION), "no rated answer"),
        (Record(text="a text"), "no rated answer"),
    ],
)
def test_what_is_no_comparison_says_why(row: Record, reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        compared(row)


def test_answers_of_the_same_tokens_are_refused() -> None:
    """Other texts, the same tokens: a tokenizer that loses letters makes a pair of nothing."""
    one = Encoding([5, 6], [False, True])
    with pytest.raises(BadRow, match="same tokens"):
        branched([one, one])


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_end_where_they_end(kind: str, raw: bool) -> None:
    """The text up to each target is the text up to the end of its step."""
    tokenizer = trained_tokenizer(kind)
    encoder = ChatEncoder.build(tokenizer, "auto" if raw else "plain")
    column = "prompt" if raw else "question"
    row: Any = {column: "what is the word?", "steps": ["the cat sat", "the dog", "yes"], "labels": [1, 0, 1]}
    made = FORMATS.load("steps").read(row)
    encoding = encoder.stepped(made)
    ends = [at for at, on in enumerate(encoding.trained) if on]
    assert len(ends) == 3
    assert ends[-1] == len(encoding.ids) - 1
    texts = [encoder.decode(encoding.ids[: end + 1]) for end in ends]
    assert [text.strip().rpartition("\n")[2].strip()[-3:] for text in texts] == ["sat", "dog", "yes"]
    prompt = encoder.prompt_ids(made.messages or (), raw=encoder.joined(made))
    assert encoding.ids[: len(prompt)] == prompt


def test_answers_are_shown_one_under_the_other() -> None:
    encoder = ChatEncoder.build(make_tokenizer())
    example = example_of(branched(encoder.candidates(record("yes", "no"))), 0)
    shown = [(text, trained) for text, trained, _ in runs(example, encoder.tokens)]
    assert [text for text, _ in shown if text.startswith("\n[")] == ["\n[chosen] ", "\n[rejected] "]
    assert [text for text, trained in shown if trained] == ["yes", "<|im_end|>", "no", "<|im_end|>"]


@pytest.mark.parametrize(
    ("example", "names"),
    [
        ({"branches": (3, 5)}, ["chosen", "rejected"]),
        ({"branches": (3, 5, 7)}, ["answer 1, the best", "answer 2", "answer 3"]),
        ({"branches": (3,), "extras": {"wanted": np.array([1.0])}}, ["wanted"]),
        ({"branches": (3,), "extras": {"wanted": np.array([0.0])}}, ["not wanted"]),
        ({"branches": (0, 3, 5), "labels": np.zeros(9)}, ["anchor", "positive", "negative 1"]),
        ({"branches": (3,)}, ["answer 1"]),
        ({}, []),
    ],
)
def test_answers_have_names(example: dict[str, Any], names: list[str]) -> None:
    ids = np.arange(9)
    assert answer_names(Example(ids, ids > 3, 0, **example)) == names
