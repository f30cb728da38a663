"""What objectives share: the defaults of the contract, and sums over tokens, sequences and examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Record
from tunesmith.contracts.objective import Judged, TaskHead
from tunesmith.contracts.policy import Want
from tunesmith.data.collate import flatten
from tunesmith.recipe.base import PartConfig

if TYPE_CHECKING:
    import torch


class ObjectiveConfig(PartConfig):
    """Base of objectives (``contracts.objective``): log-probabilities of the model's own words, a unit a sequence."""

    want: ClassVar[Want] = Want(logprob=True)
    formats: ClassVar[tuple[str, ...]] = ()
    unit: ClassVar[str] = "sequences"
    beside: ClassVar[Mapping[str, Want]] = {}
    decomposes: ClassVar[bool] = True
    in_pieces: ClassVar[bool] = False
    judged: ClassVar[Judged] = "terms"
    metrics: ClassVar[tuple[str, ...]] = ()
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    undirected: ClassVar[frozenset[str]] = frozenset()
    samples: ClassVar[bool] = False

    def head(self) -> TaskHead | None:
        """The model's own vocabulary."""
        return None

    def more_heads(self) -> Mapping[str, int]:
        """None."""
        return {}

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """Nothing is decided by rows."""
        return {}

    def words(self, example: Example) -> str:
        """Nothing: its targets are its own tokens."""
        return ""

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch."""
        return flatten(examples)


def by_sequence(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """``values [N]`` of the readout rows, weighted, summed into their sequences ``[U]``."""
    weighted = values * batch.readout.weights.to(values.dtype)
    return weighted.new_zeros(len(batch.unit_ids)).index_add(0, batch.readout.unit, weighted)


def by_example(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """``values [U]`` of the sequences summed into their examples ``[E]``."""
    return values.new_zeros(batch.examples).index_add(0, batch.groups, values)
