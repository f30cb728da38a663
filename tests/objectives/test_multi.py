"""Several tasks on one layer: each task's loss is what its own objective makes of the rows that have it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from tiny_task import bert_tokenizer
from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Record
from tunesmith.contracts.policy import Outputs
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.formats.base import BadRow
from tunesmith.data.store import example_of
from tunesmith.errors import UserError
from tunesmith.objectives.multi import Multi

MOOD = {"kind": "classify", "column": "label", "labels": ["bad", "good"], "multi_label": False, "weight": 2.0}
TOPICS = {"kind": "classify", "labels": ["x", "y", "z"], "multi_label": True}
STARS = {"kind": "regress", "weight": 0.5, "standardise": {"mean": 3.0, "deviation": 2.0}}
OBJECTIVE = Multi(tasks={"mood": MOOD, "topics": TOPICS, "stars": STARS})
ROWS = [
    Record(text="the red cat", labels=("good",), meta={"stars": 5}),
    Record(text="the dog", labels=("bad",), meta={"topics": ["z", "x"]}),
    Record(text="very blue", meta={"stars": 2.5, "topics": []}),
    Record(text="the cat and dog", labels=("good",)),
]


def examples(objective: Multi = OBJECTIVE, rows: list[Record] = ROWS) -> list[Example]:
    encoder = ChatEncoder.build(bert_tokenizer())
    return [example_of(objective.encode(row, encoder)[0], at) for at, row in enumerate(rows)]


def terms_of(scores: torch.Tensor, some: list[Example], objective: Multi = OBJECTIVE) -> dict[str, torch.Tensor]:
    return {term.name: term.values for term in objective.loss(Outputs(scores=scores), objective.collate(some))}


def scores_of(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()


def test_the_outputs_of_all_tasks_follow_one_another() -> None:
    head = OBJECTIVE.head()
    assert head.labels == ("mood: bad", "mood: good", "topics: x", "topics: y", "topics: z", "stars: value")
    assert head.places() == {"mood": slice(0, 2), "topics": slice(2, 5), "stars": slice(5, 6)}


def test_an_example_knows_which_tasks_it_has() -> None:
    parts = OBJECTIVE.parts(examples())
    assert {name: list(own) for name, own in parts.items()} == {"mood": [0, 1, 3], "topics": [1, 2], "stars": [0, 2]}
    assert [one.labels.tolist() for one in parts["topics"].values()] == [[0, 2], []]  # type: ignore[union-attr]
    assert OBJECTIVE.words(examples()[1]) == "mood: bad; topics: x, z"
    assert OBJECTIVE.words(examples()[2]) == "topics: (none); stars: 2.5"


def test_losses_by_hand() -> None:
    """Softmax, three sigmoids and a standardised square, each 0 where a row lacks the task."""
    s = scores_of()
    found, z = terms_of(s, examples()), s.detach().tolist()

    def softmax_loss(row: int, own: int) -> float:
        return math.log(sum(math.exp(one) for one in z[row][:2])) - z[row][own]

    def sigmoid_loss(row: int, present: list[int]) -> float:
        signs = [1 if at in present else -1 for at in range(3)]
        return sum(math.log1p(math.exp(-sign * z[row][2 + at])) for at, sign in enumerate(signs)) / 3

    assert found["mood"].tolist() == pytest.approx([softmax_loss(0, 1), softmax_loss(1, 0), 0, softmax_loss(3, 1)])
    assert found["topics"].tolist() == pytest.approx([0, sigmoid_loss(1, [0, 2]), sigmoid_loss(2, []), 0])
    assert found["stars"].tolist() == pytest.approx([(z[0][5] - 1.0) ** 2, 0, (z[2][5] + 0.25) ** 2, 0])
    assert OBJECTIVE.counts(examples()) == {"mood": 3.0, "topics": 2.0, "stars": 2.0}
    weights = {term.name: term.weight for term in OBJECTIVE.loss(Outputs(scores=s), OBJECTIVE.collate(examples()))}
    assert weights == {"mood": 2.0, "topics": 1.0, "stars": 0.5}


def test_what_a_row_lacks_moves_nothing() -> None:
    s = scores_of()
    sum(values.sum() for values in terms_of(s, examples()).values()).backward()  # type: ignore[union-attr]
    assert s.grad is not None
    moved = [[bool(s.grad[row, at].any()) for at in OBJECTIVE.head().places().values()] for row in range(4)]
    assert moved == [[True, False, True], [True, True, False], [False, True, True], [True, False, False]]


def test_pieces_add_up_in_any_order() -> None:
    s, rows = scores_of(), examples()
    whole = terms_of(s, rows)
    for pieces in ([[0], [1], [2], [3]], [[3, 2], [1, 0]]):
        found = dict.fromkeys(whole, 0.0)
        for piece in pieces:
            for name, values in terms_of(s[piece], [rows[at] for at in piece]).items():
                found[name] += float(values.detach().sum())
        assert found == pytest.approx({name: float(values.detach().sum()) for name, values in whole.items()})


def test_an_update_without_a_task_is_divided_by_one() -> None:
    assert OBJECTIVE.counts(examples()[3:]) == {"mood": 1.0, "topics": 1.0, "stars": 1.0}
    assert terms_of(scores_of(1), examples()[3:])["stars"].tolist() == [0.0]


def test_class_weights_divide_by_themselves() -> None:
    heavy = Multi(tasks={"mood": {**MOOD, "class_weights": {"bad": 3.0, "good": 0.5}}, "topics": TOPICS})
    some = examples(heavy)[:2]
    plain = terms_of(scores_of(2)[:, :5], some, Multi(tasks={"mood": MOOD, "topics": TOPICS}))
    found = terms_of(scores_of(2)[:, :5], some, heavy)
    assert found["mood"].tolist() == pytest.approx((plain["mood"].detach() * torch.tensor([0.5, 3.0])).tolist())
    assert heavy.counts(some)["mood"] == 3.5


def test_training_rows_decide_for_every_task() -> None:
    asked = Multi(tasks={"mood": {"kind": "classify", "column": "label"}, "topics": "classify", "stars": "regress"})
    learned = Multi(**asked.learn(iter(ROWS), max_tokens=64))
    assert learned.head().labels == ("mood: bad", "mood: good", "topics: x", "topics: z", "stars: value")
    assert [one.problem for one in learned.head().tasks.values()] == ["class", "classes", "number"]
    scaled = Multi(**Multi(tasks={"stars": {"kind": "regress", "standardise": True}}).learn(ROWS, max_tokens=64))
    assert (scaled.head().tasks["stars"].mean, scaled.head().tasks["stars"].deviation) == (3.75, 1.25)


@pytest.mark.parametrize(
    ("tasks", "code", "words"),
    [
        ({"tone": "classify"}, "task-without-rows", "tone"),
        ({"stars": {"kind": "classify"}, "mood": MOOD}, None, ""),
        ({"flat": {"kind": "classify", "column": "same"}}, "one-class", "flat"),
        ({"mood": "classfy"}, "not-a-choice", "classfy"),
        ({"mood": {"kind": "classify", "smothing": 0.1}}, "unknown-key", "smothing"),
        ({}, "invalid-value", "tasks"),
    ],
)
def test_what_cannot_be_learned_is_told_by_task(tasks: Any, code: str | None, words: str) -> None:
    rows = [*ROWS, Record(text="the", meta={"same": "a"})]
    if code is None:
        assert Multi(tasks=tasks).learn(rows, max_tokens=64)
        return
    with pytest.raises(UserError) as caught:
        Multi(tasks=tasks).learn(rows, max_tokens=64)
    assert caught.value.code == code
    assert words in caught.value.sentence()


def test_rows_without_a_task_or_with_a_wrong_label_are_dropped() -> None:
    encoder = ChatEncoder.build(bert_tokenizer())
    with pytest.raises(BadRow, match="no label of any task"):
        OBJECTIVE.encode(Record(text="the cat"), encoder)
    with pytest.raises(BadRow, match="'stars'"):
        OBJECTIVE.encode(Record(text="the cat", meta={"stars": "many"}), encoder)
    with pytest.raises(UserError, match="god"):
        OBJECTIVE.encode(Record(text="the cat", labels=("god",)), encoder)


def test_numbers_travel_unchanged_beside_classes() -> None:
    (row,) = examples(rows=[Record(text="the", labels=("bad",), meta={"stars": -2.7182817})])
    assert row.labels is not None
    assert row.labels.dtype == np.int32
    assert OBJECTIVE.tasks["stars"].values(list(OBJECTIVE.parts([row])["stars"].values())) == [  # type: ignore[union-attr]
        float(np.float32(-2.7182817))
    ]
