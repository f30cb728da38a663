"""What is minimised: pure functions from rows to tokens, from tokens to a batch, from outputs to summed terms.

*Sum first, divide once*: a term's ``values`` are sums over its units. The engine divides by the count of the whole
update, which ``counts`` knows before any forward pass, and adds the terms by weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from tunesmith.contracts.batch import Batch, Example
    from tunesmith.contracts.data import Encoder, Encoding, Record
    from tunesmith.contracts.policy import Outputs, Want


Problem = Literal["class", "classes", "number", "tasks", "tokens", "span", "reward", "embedding"]
"""What is decided: one class of a text, any number of classes, a number, several of these; a class a token, the place
of an answer, how good an answer is, where a text lies."""
Judged = Literal["tokens", "labels", "terms", "rewards"]
"""What held-out rows are judged by: the loss of their tokens, what a task head says of them, the objective's own terms
(its loss and measurements), the rewards of sampled answers."""


@dataclass(frozen=True)
class TaskHead:
    """The output layer a model needs in place of its vocabulary; ``labels`` are the names of its outputs.

    An output ``s`` for a number stands for ``mean + deviation · s``. Where several ``tasks`` share the layer, their
    outputs follow one another in it.
    """

    problem: Problem
    labels: tuple[str, ...]
    mean: float = 0.0
    deviation: float = 1.0
    tasks: Mapping[str, TaskHead] = field(default_factory=dict)

    def places(self) -> dict[str, slice]:
        """Where the outputs of each of its ``tasks`` are."""
        found, first = {}, 0
        for name, one in self.tasks.items():
            found[name] = slice(first, first + len(one.labels))
            first += len(one.labels)
        return found


@dataclass(frozen=True)
class Term:
    """A named part of a loss: ``values`` float32 ``[E]``, one an example, each the *sum* over its own parts (tokens).

    A term of ``weight`` 0 is a measurement: it is divided and reported like the others and moves nothing.
    """

    name: str
    values: torch.Tensor
    weight: float = 1.0


class Objective(Protocol):
    """A frozen pydantic config that also knows how to encode, collate and score (``objectives.base`` has defaults)."""

    formats: ClassVar[tuple[str, ...]]
    """The data formats whose rows it reads, the usual one first; none where it reads whatever has words."""
    unit: ClassVar[str]
    """What ``batch_size`` counts: ``sequences``, ``pairs``, ``prompts``."""
    beside: ClassVar[Mapping[str, Want]]
    """Frozen models whose outputs its loss reads from ``Batch.beside``: ``reference`` (the model as training began),
    ``teacher``; with what is wanted of each."""
    decomposes: ClassVar[bool]
    """Whether an update's loss is a sum over its examples. Where rows are coupled (in-batch negatives) it is not, and
    the whole update is one micro-batch."""
    in_pieces: ClassVar[bool]
    """Where it does not: whether the outputs of an update are computed a micro-batch at a time all the same, twice
    (``engine.pieces``). It must read the trained model alone, and its whole batch must be its pieces in turn."""
    judged: ClassVar[Judged]
    metrics: ClassVar[tuple[str, ...]]
    """Names of its measurements, which early stopping can watch."""
    lower_is_better: ClassVar[frozenset[str]]
    """Those of them that improve downwards."""
    undirected: ClassVar[frozenset[str]]
    """Those of which neither more nor less is better."""
    samples: ClassVar[bool]
    """Whether it trains on answers that the model itself samples while it learns: its rows are prompts."""

    @property
    def want(self) -> Want:
        """What is needed of the trained model."""
        ...

    def head(self) -> TaskHead | None:
        """The output layer it needs in place of the vocabulary; None for the model's own."""
        ...

    def more_heads(self) -> Mapping[str, int]:
        """New output layers on the last hidden state beside the vocabulary, by name, with their sizes (``value``: 1).

        Every method trains and stores them.
        """
        ...

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """Options that the training rows decide where the user left them open (label names, class weights)."""
        ...

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """Tokens and targets of one record (several where a record becomes several sequences)."""
        ...

    def words(self, example: Example) -> str:
        """What the labels of an example say, for people; empty where it has none."""
        ...

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch."""
        ...

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """For each term (measurements too) the number its sum is divided by, over a whole update."""
        ...

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The terms of one micro-batch, not yet divided by anything."""
        ...
