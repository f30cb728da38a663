"""What is minimised: pure functions from rows to tokens, from tokens to a batch, from outputs to summed terms.

*Sum first, divide once*: a term's ``values`` are sums over its units. The engine divides by the count of the whole
update, which ``counts`` knows before any forward pass, and adds the terms by weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from tunesmith.contracts.batch import Batch, Example
    from tunesmith.contracts.data import Encoder, Encoding, Record
    from tunesmith.contracts.policy import Outputs, Want


Problem = Literal["class", "classes", "number", "tokens", "span"]
"""What is decided: one class of a text, any number of classes, a number, a class a token, the place of an answer."""


@dataclass(frozen=True)
class TaskHead:
    """The output layer a model needs in place of its vocabulary; ``labels`` are the names of its outputs."""

    problem: Problem
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Term:
    """A named part of a loss: ``values`` float32 ``[U]``, each the *sum* over the unit's own parts (its tokens)."""

    name: str
    values: torch.Tensor
    weight: float = 1.0


class Objective(Protocol):
    """A frozen pydantic config that also knows how to encode, collate and score."""

    want: ClassVar[Want]
    unit: ClassVar[str]
    """What ``batch_size`` counts: ``sequences`` (or pairs, prompts)."""

    def head(self) -> TaskHead | None:
        """The output layer it needs; None for the model's own vocabulary."""
        ...

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """Options that the training rows decide where the user left them open (label names, class weights)."""
        ...

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """Tokens and targets of one record (several where a record becomes several sequences)."""
        ...

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch."""
        ...

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """For each term the number its sum is divided by, over a whole update."""
        ...

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The terms of one micro-batch, not yet divided by anything."""
        ...
