"""What goes into a model: flat streams of real tokens, and which predictions carry loss.

Shape legend: ``T`` tokens of the whole micro-batch, ``S`` segments (sequences), ``N`` predictions read out,
``U`` units of the objective (sequences here; pairs or prompts for others).

No padding exists in a batch. Segment ``s`` owns rows ``starts[s]:starts[s+1]`` of the stream and sees only itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Example:
    """One tokenised sequence out of the token store.

    ``ids`` int32 ``[n]``; ``trained`` bool ``[n]``: token ``i`` is a target (predicted from the tokens before it);
    ``row`` identifies the source row in the ledger, ``source`` the data source it came from.

    With ``labels`` (int32, see ``contracts.data.Encoding``) a target is a token whose own hidden state is read.
    ``second`` is where the second text of a pair begins for models that mark it by token types; 0 for none.
    """

    ids: NDArray[np.int32]
    trained: NDArray[np.bool_]
    row: int
    source: int = 0
    labels: NDArray[np.int32] | None = None
    second: int = 0

    @property
    def targets(self) -> int:
        """How many targets there are: a first token can be read, but not predicted."""
        return int(self.trained[0 if self.labels is not None else 1 :].sum())

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Prefix:
    """Trained keys and values ``[H_kv, P, D]`` of one layer, which every token of every sequence sees.

    An attention module carries its own as the attribute ``key_value_prefix``. They are in no cache, and no window
    hides them.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __deepcopy__(self, _: object) -> Prefix:
        # a copied model is given its own before it runs; autograd refuses to copy what is computed
        return Prefix(self.keys.detach(), self.values.detach())


class KeyValues(Protocol):
    """Keys and values of earlier tokens, held by the decoding engine, one entry a layer."""

    begins: bool
    """Whether the stream starts its sequences (else it goes on with them)."""

    def after(self, tokens: int) -> KeyValues:
        """The same where every sequence has ``tokens`` more in front: a starting stream brings them along."""
        ...

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scaling: float,
        window: int | None,
        softcap: float | None = None,
        prefix: Prefix | None = None,
    ) -> torch.Tensor:
        """Append ``key``/``value`` ``[1, H_kv, T, D]`` and attend: ``query [1, H, T, D]`` -> ``[1, T, H, D]``."""
        ...


@dataclass(frozen=True)
class Layout:
    """Which rows of a flat stream belong together; handed to every attention layer.

    ``starts`` int64 ``[S+1]`` on the stream's device; ``lengths`` the same as Python numbers, so that CPU code reads
    them without a copy. ``cache`` is set while decoding only.
    """

    starts: torch.Tensor
    lengths: tuple[int, ...]
    cache: KeyValues | None = None


@dataclass(frozen=True)
class Stream:
    """Tokens of all segments in turn: ``ids`` int64 ``[T]``, ``positions`` int64 ``[T]``, from 0 in each segment.

    ``types`` int64 ``[T]``: 1 for tokens of the second text of a pair; None where there is no pair.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    types: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> Stream:
        """The same stream on ``device``."""
        layout = replace(self.layout, starts=self.layout.starts.to(device))
        types = None if self.types is None else self.types.to(device)
        return Stream(self.ids.to(device), self.positions.to(device), layout, types)


@dataclass(frozen=True)
class Readout:
    """Predictions that carry loss: hidden row ``rows[i]`` predicts token (or class) ``labels[i]``.

    ``rows``, ``labels``, ``unit`` int64 ``[N]``; ``weights`` float32 ``[N]``; ``unit`` indexes ``Batch.unit_ids``.
    Objectives whose labels are no single class say what theirs are (float32 ``[N]`` or ``[N, C]``).
    """

    rows: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    unit: torch.Tensor

    def to(self, device: torch.device | str) -> Readout:
        """The same readout on ``device``."""
        moved = (tensor.to(device) for tensor in (self.rows, self.labels, self.weights, self.unit))
        return Readout(*moved)


@dataclass(frozen=True)
class Batch:
    """One micro-batch: a stream, its readout, and its units (``unit_ids`` int64 ``[U]``: ledger rows)."""

    main: Stream
    readout: Readout
    unit_ids: torch.Tensor
    sources: torch.Tensor
    """int64 ``[U]``: the data source of each unit, for per-source loss."""

    @property
    def tokens(self) -> int:
        """Real tokens in the stream."""
        return sum(self.main.layout.lengths)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on ``device``."""
        return Batch(self.main.to(device), self.readout.to(device), self.unit_ids.to(device), self.sources.to(device))


class Feed(Protocol):
    """What the engine trains on: update ``step`` as a pure function of its number, so that resuming needs no state."""

    def update(self, step: int) -> Sequence[Example]:
        """The examples of optimizer update ``step`` (counted from 0 over all epochs)."""
        ...

    def epoch_of(self, step: int) -> float:
        """How many epochs have passed when update ``step`` begins."""
        ...

    def steps_in(self, epochs: float) -> int:
        """Updates in ``epochs`` passes over the data."""
        ...
