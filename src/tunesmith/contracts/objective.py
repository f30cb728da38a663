"""What is minimised: pure functions from rows to tokens, from tokens to a batch, from outputs to summed terms.

*Sum first, divide once*: a term's ``values`` are sums over its units. The engine divides by the count of the whole
update, which ``counts`` knows before any forward pass, and adds the terms by weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import torch

    from tunesmith.contracts.batch import Batch, Example
    from tunesmith.contracts.data import Encoder, Encoding, Record
    from tunesmith.contracts.policy import Outputs, Want


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
