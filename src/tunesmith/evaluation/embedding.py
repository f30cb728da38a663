"""Embeddings on held-out rows: how well each anchor finds what belongs to it, or how well cosines follow scores.

Every anchor is a query over all other texts of the held-out rows (positives and negatives); what belongs to it are the
positives of every row with that anchor. A text that is the query itself is not among its documents.

Shape legend: ``U`` texts, ``E`` rows, ``C`` documents, ``d`` dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Want
from tunesmith.evaluation.labels import Given, LabelReport
from tunesmith.evaluation.loss import content_of, microbatches
from tunesmith.generation.inference import inference
from tunesmith.metrics import retrieval
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.embed import pool

BLOCK = 64
"""Rows, in their order, among which the loss looks for negatives: whatever the batch in training, so that losses of
runs can be compared."""


class Embeds(Protocol):
    """The part of the objective ``embed`` that is needed here."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch."""
        ...

    def terms(self, vectors: torch.Tensor, batch: Batch) -> list[Term]:
        """Terms of vectors ``[U, d]``."""
        ...


def embed(
    policy: CausalPolicy, objective: Embeds, examples: Sequence[Example], *, tokens_per_microbatch: int
) -> list[NDArray[np.float32]]:
    """The vectors ``[texts, d]`` of each example, pooled and not normalised, in their order."""
    found: dict[int, NDArray[np.float32]] = {}
    for numbers in microbatches([len(example) for example in examples], tokens_per_microbatch):
        chosen = [examples[number] for number in numbers]
        batch = objective.collate(chosen).to(policy.device)
        with inference(policy):
            outputs = policy(batch, Want(logprob=False, hidden=True))
        assert outputs.hidden is not None
        parts = pool(outputs.hidden, batch).cpu().split([example.sequences for example in chosen])
        found.update({number: part.numpy() for number, part in zip(numbers, parts, strict=True)})
    return [found[number] for number in range(len(examples))]


def evaluate_embeddings(
    policy: CausalPolicy, objective: Embeds, examples: Sequence[Example], *, tokens_per_microbatch: int
) -> LabelReport:
    """Retrieval among ``examples`` (pairs, triplets), or agreement with their scores."""
    vectors = embed(policy, objective, examples, tokens_per_microbatch=tokens_per_microbatch)
    loss, weight = _loss(objective, examples, vectors)
    scored = "score" in examples[0].extras
    wanted: list[float] = []
    said: list[float] = []
    columns: dict[str, NDArray[np.float64]] = {}
    if scored:
        wanted = [float(example.extras["score"][0]) for example in examples]
        said = [float(anchor @ other) for anchor, other in map(normalised, vectors)]
    else:
        columns = _retrieval(examples, vectors)
    return LabelReport(
        Given(
            "embedding",
            (),
            loss,
            weight,
            wanted,
            said,
            columns,
            np.array([example.source for example in examples], dtype=np.int64),
            np.array([content_of(example) for example in examples], dtype=np.int64),
        )
    )


def _loss(
    objective: Embeds, examples: Sequence[Example], vectors: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The loss ``[E]`` in blocks of rows, and what it is divided by."""
    found = []
    for start in range(0, len(examples), BLOCK):
        block = examples[start : start + BLOCK]
        batch = objective.collate(block)
        with torch.no_grad():
            terms = objective.terms(torch.from_numpy(np.concatenate(vectors[start : start + BLOCK])), batch)
        (term,) = [term for term in terms if term.weight]
        values = term.values.double().numpy()
        # a loss of the whole block is spread over its rows
        found.append(values * (len(block) if term.name == "cosent" else 1))
    return np.concatenate(found), np.ones(len(examples))


def _retrieval(examples: Sequence[Example], vectors: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """Every metric of every anchor, each ``[E]``."""
    units = np.concatenate([normalised(own) for own in vectors])
    texts = np.concatenate([example.extras["texts"] for example in examples])
    first = np.cumsum([0, *(example.sequences for example in examples)])[:-1]
    is_document = np.ones(len(texts), dtype=np.bool_)
    is_document[first] = False
    documents, at = np.unique(texts[is_document], return_index=True)
    held = units[np.flatnonzero(is_document)[at]]
    belongs: dict[float, set[float]] = {}
    for place in first.tolist():
        belongs.setdefault(float(texts[place]), set()).add(float(texts[place + 1]))
    rows = []
    for place in first.tolist():
        scores = (held @ units[place]).astype(np.float64)
        relevant = np.isin(documents, list(belongs[float(texts[place])]))
        others = (documents != texts[place]) | relevant
        rows.append(retrieval.measures(retrieval.ranks(scores[others], relevant[others])))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def normalised(vectors: NDArray[np.float32], dimensions: int | None = None) -> NDArray[np.float32]:
    """Vectors ``[..., d]`` cut to their first ``dimensions``, of length 1."""
    cut = vectors[..., :dimensions]
    return np.asarray(cut / np.maximum(np.linalg.norm(cut, axis=-1, keepdims=True), 1e-12), dtype=np.float32)
