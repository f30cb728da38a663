"""Negative log-likelihood, perplexity and token accuracy of held-out examples, with the sums of every sequence.

Sums are kept a sequence because intervals redraw whole sequences (their tokens are not independent) and because a
comparison before against after is paired by sequence.

Shape legend: ``U`` sequences, in the order the examples came in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.policy import Want
from tunesmith.generation.inference import inference
from tunesmith.metrics.intervals import Estimate, ratio_interval
from tunesmith.metrics.perplexity import perplexity
from tunesmith.models.policy import CausalPolicy


class Collates(Protocol):
    """The part of an objective that is needed here."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch."""
        ...


@dataclass(frozen=True)
class Sums:
    """For each sequence, in float64 ``[U]``: ``nll`` in nats, ``tokens`` trained on, ``hits`` the model ranks first.

    ``sources`` int64 ``[U]`` are data sources, ``rows`` int64 ``[U]`` ledger rows, ``content`` int64 ``[U]`` digests of
    tokens and targets.
    """

    nll: NDArray[np.float64]
    tokens: NDArray[np.float64]
    hits: NDArray[np.float64]
    sources: NDArray[np.int64]
    rows: NDArray[np.int64]
    content: NDArray[np.int64]

    def as_dict(self) -> dict[str, list[float]]:
        """The sums as JSON."""
        return {name: values.tolist() for name, values in vars(self).items()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Sequence[float]]) -> Sums:
        """The inverse of :meth:`as_dict`."""
        nll, tokens, hits = (np.array(value[name], dtype=np.float64) for name in ("nll", "tokens", "hits"))
        sources, rows, content = (np.array(value[name], dtype=np.int64) for name in ("sources", "rows", "content"))
        return cls(nll, tokens, hits, sources, rows, content)

    def same_sequences(self, other: Sums) -> bool:
        """Whether both are of the same tokens with the same targets, in the same order."""
        return np.array_equal(self.content, other.content)

    def of_source(self, source: int) -> Sums:
        """The sequences of one data source."""
        chosen = self.sources == source
        return Sums(**{name: values[chosen] for name, values in vars(self).items()})


@dataclass(frozen=True)
class LossReport:
    """``nll`` in nats a token, ``perplexity``, ``accuracy`` (share of tokens ranked first), with 95% intervals."""

    nll: Estimate
    perplexity: Estimate
    accuracy: Estimate
    sums: Sums

    @classmethod
    def of(cls, sums: Sums, *, seed: int = 0) -> LossReport:
        """The report of ``sums``. Raises ``ValueError`` where no sequence has a trained token."""
        nll = ratio_interval(sums.nll, sums.tokens, seed=seed)
        accuracy = ratio_interval(sums.hits, sums.tokens, seed=seed)
        return cls(nll, nll.mapped(lambda mean: perplexity(mean, 1)), accuracy, sums)

    def by_source(self) -> dict[int, LossReport]:
        """The same of every data source that has a trained token."""
        sources = np.unique(self.sums.sources[self.sums.tokens > 0])
        return {int(source): LossReport.of(self.sums.of_source(int(source))) for source in sources}

    def values(self) -> dict[str, float]:
        """The numbers alone, as training watches them."""
        return {"loss": self.nll.value, "perplexity": self.perplexity.value, "accuracy": self.accuracy.value}

    def metrics(self) -> Mapping[str, Estimate]:
        """The estimates by name."""
        return {"nll": self.nll, "perplexity": self.perplexity, "accuracy": self.accuracy}


def evaluate_loss(
    policy: CausalPolicy,
    objective: Collates,
    examples: Sequence[Example],
    *,
    tokens_per_microbatch: int,
    on_progress: Callable[[int], None] | None = None,
) -> LossReport:
    """Measure ``examples`` without gradients; ``on_progress`` is told how many are done.

    Weights of the readout count as tokens. Raises ``ValueError`` where no example has a trained token.
    """
    count = len(examples)
    sums = Sums(
        nll=np.zeros(count),
        tokens=np.zeros(count),
        hits=np.zeros(count),
        sources=np.array([example.source for example in examples], dtype=np.int64),
        rows=np.array([example.row for example in examples], dtype=np.int64),
        content=np.array([content_of(example) for example in examples], dtype=np.int64),
    )
    done = 0
    for numbers in microbatches([len(example) for example in examples], tokens_per_microbatch):
        batch = objective.collate([examples[number] for number in numbers]).to(policy.device)
        found = totals(policy, batch, len(numbers))
        sums.nll[numbers], sums.tokens[numbers], sums.hits[numbers] = found.nll, found.tokens, found.hits
        done += len(numbers)
        if on_progress is not None:
            on_progress(done)
    return LossReport.of(sums)


@dataclass(frozen=True)
class Totals:
    """Of every sequence of a micro-batch, float64 ``[U]``: nats, targets, and targets ranked first."""

    nll: NDArray[np.float64]
    tokens: NDArray[np.float64]
    hits: NDArray[np.float64]


def totals(policy: CausalPolicy, batch: Batch, sequences: int) -> Totals:
    """What the model makes of ``batch``, which has so many sequences, without gradients."""
    with inference(policy):
        outputs = policy(batch, Want(logprob=True, hit=True))
    if outputs.logprob is None or outputs.hit is None:
        raise RuntimeError("the policy left out what was wanted of it")
    weights = batch.readout.weights.double()

    def total(values: torch.Tensor) -> NDArray[np.float64]:
        sums = torch.zeros(sequences, dtype=torch.float64, device=policy.device)
        return np.asarray(sums.index_add_(0, batch.readout.unit, values).cpu().numpy())

    nll, hits = -outputs.logprob.double() * weights, outputs.hit.double() * weights
    return Totals(total(nll), total(weights), total(hits))


def content_of(example: Example) -> int:
    """Digest of an example's tokens and targets, in 48 bits: JSON keeps whole numbers only up to 53."""
    said = example.ids.astype(np.int32).tobytes() + example.trained.astype(bool).tobytes()
    said += b"" if example.labels is None else example.labels.tobytes()
    said += b"" if not example.branches else np.array(example.branches, dtype=np.int64).tobytes()
    return int.from_bytes(hashlib.blake2b(said, digest_size=6).digest(), "big")


def microbatches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Numbers of sequences that run together: of similar length, at most ``tokens`` (or one longer sequence)."""
    chosen: list[int] = []
    total = 0
    for number in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        if chosen and total + lengths[number] > tokens:
            yield chosen
            chosen, total = [], 0
        chosen.append(number)
        total += lengths[number]
    if chosen:
        yield chosen
