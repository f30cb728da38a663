"""Embedding losses by hand and against sentence-transformers, what of a row is read, and how runs are judged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from families import configs
from tiny_base import make_tokenizer
from tiny_task import bert_tokenizer
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Record
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.formats.base import BadRow
from tunesmith.data.store import example_of
from tunesmith.errors import UserError
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives import embed_loss
from tunesmith.objectives.embed import Embed, Places, pool


def encoder(kind: str = "bert") -> ChatEncoder:
    return ChatEncoder.build(bert_tokenizer() if kind == "bert" else make_tokenizer(), "auto")


def body(*, dropout: float = 0.0) -> CausalPolicy:
    from transformers import BertModel

    config = configs()["bert"]
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    torch.manual_seed(0)
    return CausalPolicy(BertModel(config, add_pooling_layer=False).eval())


PAIRS = [
    Record(text="the red cat", pair="which colour is the cat ?"),
    Record(text="the blue dog is very blue", pair="a dog"),
    Record(text="number", pair="green and blue"),
]


def triplets(*counts: int) -> list[Record]:
    return [
        Record(text=f"the cat {at}", pair=f"which cat {at}", others=tuple(f"dog {at} {n}" for n in range(count)))
        for at, count in enumerate(counts)
    ]


def examples(objective: Embed, records: list[Record], kind: str = "bert") -> list[Example]:
    found = []
    for row, record in enumerate(records):
        (one,) = objective.encode(record, encoder(kind))
        found.append(example_of(one, row))
    return found


def vectors(count: int, size: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch_of(records: list[Record], **options: Any) -> tuple[Embed, Batch, list[Example]]:
    objective = Embed(**options)
    rows = examples(objective, records)
    return objective, objective.collate(rows), rows


def total(objective: Embed, given: torch.Tensor, batch: Batch, rows: list[Example]) -> torch.Tensor:
    counts = objective.counts(rows)
    terms = objective.terms(given, batch)
    return sum((one.weight * one.values.sum() / counts[one.name] for one in terms), torch.zeros(()).to(given))


# Formulas


def test_two_pairs_by_hand() -> None:
    """Cosines 1 to the own positive and 0 to the other, temperature 1/2: log(1 + e^−2)."""
    one = embed_loss.contrastive(torch.eye(2), temperature=0.5)
    assert torch.allclose(one.values, torch.full((2,), math.log1p(math.exp(-2.0))), atol=1e-6)
    assert one.hits is not None
    assert one.hits.tolist() == [1.0, 1.0]


def test_a_hidden_candidate_is_no_negative() -> None:
    cosines, hidden = torch.ones(2, 2), torch.tensor([[False, True], [False, False]])
    one = embed_loss.contrastive(cosines, temperature=1.0, hidden=hidden)
    assert torch.allclose(one.values, torch.tensor([0.0, math.log(2.0)]), atol=1e-6)


def test_symmetric_is_the_mean_of_both_directions() -> None:
    """One anchor close to both positives: going back, the second positive is lost between two anchors."""
    cosines = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    forward, both = (embed_loss.contrastive(cosines, temperature=1.0, symmetric=on).values for on in (False, True))
    assert torch.allclose(forward, torch.full((2,), math.log(2.0)), atol=1e-6)
    back = torch.tensor([math.log1p(math.exp(-1.0)), math.log1p(math.exp(1.0))])
    assert torch.allclose(both, (forward + back) / 2, atol=1e-6)


def test_cosent_by_hand() -> None:
    """Scores 1 < 2 with cosines 0.5 and 0.2: log(1 + e^(0.3/τ)); in the right order the loss is near 0."""
    wrong = embed_loss.cosent(torch.tensor([0.5, 0.2]), torch.tensor([1.0, 2.0]), temperature=0.1)
    assert float(wrong) == pytest.approx(math.log1p(math.exp(3.0)), rel=1e-5)
    right = embed_loss.cosent(torch.tensor([0.2, 0.5]), torch.tensor([1.0, 2.0]), temperature=0.1)
    assert float(right) == pytest.approx(math.log1p(math.exp(-3.0)), rel=1e-5)
    assert float(embed_loss.cosent(torch.tensor([0.2, 0.5]), torch.ones(2), temperature=0.1)) == 0.0


def test_triplets_by_hand() -> None:
    """Row 0: near 0.2, far 0.3 and 0.9, margin 0.5: (0.4 + 0)/2; row 1: near 0.6, far 0.6: 0.5, and no hit."""
    one = embed_loss.triplet(
        torch.tensor([0.2, 0.6]), torch.tensor([0.3, 0.9, 0.6]), torch.tensor([0, 0, 1]), margin=0.5
    )
    assert torch.allclose(one.values, torch.tensor([0.2, 0.5]), atol=1e-6)
    assert one.hits is not None
    assert one.hits.tolist() == [1.0, 0.0]


def test_hard_negatives_are_candidates_of_every_row() -> None:
    """Two rows with one and two negatives: each anchor chooses among both positives and all three negatives."""
    objective, batch, rows = batch_of(triplets(1, 2), loss_function="contrastive", temperature=0.5)
    given = vectors(len(batch.unit_ids))
    unit = F.normalize(given, dim=-1)
    anchors, candidates = unit[[0, 3]], unit[[1, 4, 2, 5, 6]]
    wanted = -(2.0 * anchors @ candidates.T).log_softmax(-1).diagonal()
    assert float(total(objective, given, batch, rows)) == pytest.approx(float(wanted.mean()), rel=1e-6)


# Against sentence-transformers, on equal vectors


class Given(torch.nn.Module):
    """In place of its model: the vectors of each column as they are."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": features["vectors"]}

    def get_embedding_dimension(self) -> int:
        return 8


def columns(given: torch.Tensor, batch: Batch) -> list[dict[str, torch.Tensor]]:
    places = Places.of(batch)
    found = [given[places.anchors], given[places.positives]]
    if len(places.negatives):
        found += list(given[places.negatives].view(batch.examples, -1, given.shape[1]).unbind(1))
    return [{"vectors": one} for one in found]


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:The MultipleNegativesSymmetric")
@pytest.mark.parametrize("negatives", [0, 1, 2])
@pytest.mark.parametrize(
    "name", ["contrastive", "symmetric", "triplet", "euclidean", "matryoshka", "squared", "cosent"]
)
def test_sentence_transformers_say_the_same(name: str, negatives: int) -> None:
    peer = pytest.importorskip("sentence_transformers.losses")
    scored = name in ("squared", "cosent")
    if (name in ("triplet", "euclidean") and negatives != 1) or (scored and negatives):
        pytest.skip("the peer's loss has no such rows")
    scores = [0.1, 0.9, 0.5]
    records = triplets(*[negatives] * 3)
    if scored:
        records = [
            Record(text=one.text, pair=one.pair, labels=(str(score),))
            for one, score in zip(records, scores, strict=True)
        ]
    options = {
        "contrastive": {},
        "symmetric": {"symmetric": True},
        "triplet": {"loss_function": "triplet", "margin": 0.3},
        "euclidean": {"loss_function": "triplet", "margin": 2.0, "distance": "euclidean"},
        "matryoshka": {"dimensions": [8, 4, 2]},
        "squared": {"loss_function": "squared"},
        "cosent": {"loss_function": "cosent"},
    }[name]
    objective, batch, rows = batch_of(records, **options)
    given = vectors(len(batch.unit_ids)).float().requires_grad_()
    ours = total(objective, given, batch, rows)
    (gradient,) = torch.autograd.grad(ours, given)
    theirs, labels = _peer_loss(peer, name), torch.tensor(scores) if scored else None
    value = theirs(columns(given, batch), labels)
    if name == "matryoshka":
        value = value / 3  # it adds the lengths up, and here their number changes nothing
    (other,) = torch.autograd.grad(value, given)
    assert float(ours.detach()) == pytest.approx(float(value.detach()), rel=1e-5)
    assert torch.allclose(gradient, other, atol=1e-5)


def _peer_loss(peer: Any, name: str) -> Any:
    """The peer's loss, of vectors that are given; it would ask the model for them."""
    model: Any = Given()
    model.similarity_fn_name = "cosine"
    distances = peer.TripletDistanceMetric
    return {
        "contrastive": lambda: peer.MultipleNegativesRankingLoss(model),
        "symmetric": lambda: peer.MultipleNegativesSymmetricRankingLoss(model),
        "triplet": lambda: peer.TripletLoss(model, distances.COSINE, 0.3),
        "euclidean": lambda: peer.TripletLoss(model, distances.EUCLIDEAN, 2.0),
        "matryoshka": lambda: peer.MatryoshkaLoss(model, peer.MultipleNegativesRankingLoss(model), [8, 4, 2]),
        "squared": lambda: peer.CosineSimilarityLoss(model),
        "cosent": lambda: peer.CoSENTLoss(model),
    }[name]()


# Rows and batches


def test_texts_of_a_row_are_sequences_of_their_own() -> None:
    _objective, batch, rows = batch_of(triplets(0, 2, 1))
    assert [one.sequences for one in rows] == [2, 4, 3]
    places = Places.of(batch)
    assert places.anchors.tolist() == [0, 2, 6]
    assert places.positives.tolist() == [1, 3, 7]
    assert places.negatives.tolist() == [4, 5, 8]
    assert places.owner.tolist() == [1, 1, 2]
    assert batch.main.layout.parents is None


@pytest.mark.parametrize(
    ("pooling", "kind"), [("mean", "bert"), ("first", "bert"), ("last", "llama"), ("auto", "bert")]
)
def test_pooling(pooling: Any, kind: str) -> None:
    """Marked tokens, and the vector made of them, against each text alone."""
    objective = Embed(pooling=pooling)
    rows = examples(objective, PAIRS, kind)
    batch = objective.collate(rows)
    hidden = torch.randn(len(batch.main.ids), 4, generator=torch.Generator().manual_seed(0))
    pooled = pool(hidden[batch.readout.rows], batch)
    for text, part in enumerate(hidden.split(list(batch.main.layout.lengths))):
        wanted = {"mean": part.mean(0), "auto": part.mean(0), "first": part[0], "last": part[-1]}[pooling]
        assert torch.allclose(pooled[text], wanted, atol=1e-6)


def test_the_pooling_of_a_decoder_is_its_last_token() -> None:
    assert Embed().pools(encoder("llama")) == "last"
    assert Embed().pools(encoder()) == "mean"


def test_a_text_that_stands_twice_is_not_its_own_negative() -> None:
    """Three rows, two of them with the same positive: to each of those only one other text is a negative."""
    same = [
        Record(text="the red cat", pair="cat"),
        Record(text="the cat", pair="cat"),
        Record(text="a dog", pair="dog"),
    ]
    objective, batch, _rows = batch_of(same)
    given = torch.ones(6, 4)
    values = objective.terms(given, batch)[0].values
    assert torch.allclose(values, torch.tensor([math.log(2.0), math.log(2.0), math.log(3.0)]), atol=1e-5)


def test_a_cut_vector_is_trained_on_its_own() -> None:
    """The loss of two lengths is the mean of the loss of each cut."""
    objective, batch, rows = batch_of(PAIRS, dimensions=[3, 8])
    given = vectors(6)
    alone = [total(Embed(), given[:, :length], batch, rows) for length in (3, 8)]
    assert float(total(objective, given, batch, rows)) == pytest.approx(float(sum(alone)) / 2)
    with pytest.raises(UserError, match="longer vectors") as refused:
        Embed(dimensions=[9]).terms(given, batch)
    assert refused.value.code == "dimensions-too-large"


def test_the_body_learns_and_lengths_of_vectors_do_not_count() -> None:
    policy = body()
    objective, batch, rows = batch_of(PAIRS)
    outputs = policy(batch, objective.want)
    assert outputs.hidden is not None
    pooled = pool(outputs.hidden, batch)
    one, other = (float(total(objective, scale * pooled, batch, rows).detach()) for scale in (1.0, 7.0))
    assert one == pytest.approx(other, rel=1e-5)
    total(objective, pooled, batch, rows).backward()
    assert float(policy.model.embeddings.word_embeddings.weight.grad.abs().max()) > 0


def test_single_texts_are_seen_twice_through_dropout() -> None:
    objective, batch, rows = batch_of([Record(text="the cat"), Record(text="a dog")], views="dropout")
    assert [one.sequences for one in rows] == [2, 2]
    policy = body(dropout=0.3).train()
    outputs = policy(batch, objective.want)
    assert outputs.hidden is not None
    first, second = pool(outputs.hidden, batch)[:2]
    assert float((first - second).abs().max().detach()) > 0.01
    with pytest.raises(BadRow, match="one text"):
        Embed().encode(Record(text="the cat"), encoder())


@pytest.mark.parametrize(
    ("options", "record", "reason"),
    [
        ({"loss_function": "triplet"}, Record(text="a", pair="b"), "no negative"),
        ({"loss_function": "cosent"}, Record(text="a", pair="b"), "no score"),
        ({"loss_function": "squared"}, Record(text="a", pair="b", labels=("4.5",)), "outside -1 to 1"),
        ({"loss_function": "cosent"}, Record(text="a", pair="b", labels=("much",)), "no number"),
        ({}, Record(messages=()), "conversation"),
    ],
)
def test_rows_that_do_not_fit(options: dict[str, Any], record: Record, reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        Embed(**options).encode(record, encoder())


def test_the_loss_follows_the_rows() -> None:
    assert Embed().learn(PAIRS, max_tokens=9) == {"loss_function": "contrastive"}
    assert Embed().learn([Record(text="a", pair="b", labels=("1",))], max_tokens=9) == {"loss_function": "cosent"}
    assert Embed(loss_function="triplet").learn(PAIRS, max_tokens=9) == {}
    decomposes = {
        name: Embed(loss_function=name).decomposes for name in ("contrastive", "cosent", "triplet", "squared")
    }
    assert decomposes == {"contrastive": False, "cosent": False, "triplet": True, "squared": True}


def test_cosent_is_one_number_a_batch() -> None:
    scored = [Record(text=f"cat {at}", pair="dog", labels=(str(at),)) for at in range(4)]
    objective, batch, rows = batch_of(scored, loss_function="cosent")
    given = vectors(8)
    cosines = F.cosine_similarity(given[0::2], given[1::2])
    wanted = embed_loss.cosent(cosines, torch.arange(4.0), temperature=objective.temperature)
    assert float(total(objective, given, batch, rows)) == pytest.approx(float(wanted))
    assert np.array_equal(batch.extras["score"].numpy(), np.arange(4, dtype=np.float32))
