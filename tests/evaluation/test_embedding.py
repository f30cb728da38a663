"""Embeddings judged on vectors that are known: who is found, at which rank, and what the loss is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tiny_task import WORDS, bert_tokenizer
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Record
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.store import example_of
from tunesmith.evaluation.embedding import embed, evaluate_embeddings, normalised
from tunesmith.evaluation.labels import LabelReport
from tunesmith.objectives.embed import Embed

ENCODER = ChatEncoder.build(bert_tokenizer(), "auto")
ANGLES = {"red": 0.0, "cat": 10.0, "blue": 40.0, "dog": 55.0, "green": 90.0, "number": 200.0}
"""Degrees of the vector of a word; of a text of several words, the sum of their vectors."""


class Words(nn.Module):
    """A model whose hidden state of a word is its vector, and of anything else nothing."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.zeros(len(bert_tokenizer()), 2)
        for word, angle in ANGLES.items():
            vector = [math.cos(math.radians(angle)), math.sin(math.radians(angle))]
            self.table[bert_tokenizer().convert_tokens_to_ids(word)] = torch.tensor(vector)

    def forward(self, batch: Batch, want: Want) -> Outputs:
        assert want.hidden
        return Outputs(hidden=self.table[batch.main.ids[batch.readout.rows]])


def judge(records: list[Record], **options: Any) -> LabelReport:
    objective = Embed(**options)
    return evaluate_embeddings(Words(), objective, examples(objective, records), tokens_per_microbatch=40)  # type: ignore[arg-type]


def examples(objective: Embed, records: list[Record]) -> list[Example]:
    return [example_of(objective.encode(record, ENCODER)[0], row) for row, record in enumerate(records)]


def test_every_anchor_looks_among_all_other_texts() -> None:
    """red (0°) finds cat (10°) first; blue (40°) has dog (55°) before cat; green (90°) has dog, cat before number."""
    records = [Record(text="red", pair="cat"), Record(text="blue", pair="dog"), Record(text="green", pair="number")]
    report = judge(records)
    assert report.given.columns["mrr"].tolist() == pytest.approx([1.0, 1.0, 1 / 3])
    assert report.values()["recall@1"] == pytest.approx(2 / 3)
    assert report.values()["recall@5"] == 1.0
    assert set(report.metrics()) == {"loss", "recall@1", "recall@5", "recall@10", "mrr", "ndcg@10", "map"}
    assert report.metrics()["recall@5"].low < 1.0  # Wilson's bound: three queries do not prove much


def test_negatives_are_documents_and_one_anchor_has_several_answers() -> None:
    """red belongs to cat and to blue (two rows), dog is a document too: ranks 1 and 2 for both rows."""
    records = [Record(text="red", pair="cat", others=("dog",)), Record(text="red", pair="blue")]
    assert judge(records).given.columns["map"].tolist() == [1.0, 1.0]
    assert judge(records).given.columns["recall@1"].tolist() == [0.5, 0.5]


def test_the_anchor_itself_is_no_document() -> None:
    """cat is a positive elsewhere: as a query it would find itself before anything else."""
    records = [Record(text="red", pair="cat"), Record(text="cat", pair="blue"), Record(text="green", pair="dog")]
    assert judge(records).given.columns["mrr"].tolist() == [1.0, 1.0, 1.0]


def test_scores_are_compared_by_order() -> None:
    records = [
        Record(text="red", pair="cat", labels=("3",)),  # cos 10°
        Record(text="red", pair="blue", labels=("2",)),  # cos 40°
        Record(text="red", pair="green", labels=("0",)),  # cos 90°
    ]
    report = judge(records, loss_function="cosent")
    assert report.values()["spearman"] == pytest.approx(1.0)
    assert report.given.said == pytest.approx([math.cos(math.radians(angle)) for angle in (10, 40, 90)], abs=1e-6)
    assert report.values()["loss"] < 0.02
    backwards = judge([*records[:1], Record(text="red", pair="green", labels=("9",))], loss_function="cosent")
    assert backwards.values()["spearman"] == pytest.approx(-1.0)
    assert backwards.values()["loss"] > 10


def test_the_loss_is_the_objectives_own() -> None:
    records = [Record(text="red", pair="cat"), Record(text="green", pair="number")]
    objective = Embed(temperature=0.5)
    vectors = torch.from_numpy(
        np.concatenate(embed(Words(), objective, examples(objective, records), tokens_per_microbatch=9))
    )  # type: ignore[arg-type]
    batch = objective.collate(examples(objective, records))
    assert judge(records, temperature=0.5).values()["loss"] == pytest.approx(
        float(objective.terms(vectors, batch)[0].values.mean()), rel=1e-6
    )


def test_vectors_are_pooled_and_come_in_order() -> None:
    """The mean over [CLS], the words and [SEP], whatever the order in which micro-batches run."""
    objective = Embed()
    records = [Record(text="red cat", pair="blue"), Record(text="green", pair="dog dog dog dog")]
    found = embed(Words(), objective, examples(objective, records), tokens_per_microbatch=1)  # type: ignore[arg-type]
    table = Words().table
    number = dict(zip(WORDS, bert_tokenizer().convert_tokens_to_ids(WORDS), strict=True))
    assert np.allclose(found[0][0], ((table[number["red"]] + table[number["cat"]]) / 4).numpy(), atol=1e-6)
    assert np.allclose(found[1][0], (table[number["green"]] / 3).numpy(), atol=1e-6)


def test_normalised_vectors_have_length_1_or_0() -> None:
    given = np.array([[3.0, 4.0, 12.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    assert normalised(given)[0] == pytest.approx(np.array([3, 4, 12]) / 13)
    assert normalised(given, 2)[0] == pytest.approx([0.6, 0.8])
    assert normalised(given)[1].tolist() == [0.0, 0.0, 0.0]
