"""What goes into a model: flat streams of real tokens, and which predictions carry loss.

Shape legend: ``T`` tokens of the whole micro-batch, ``S`` segments, ``N`` predictions read out, ``U`` sequences,
``E`` examples (the units of the objective: a sequence, a pair of answers, a group of answers).

No padding exists in a batch. Segment ``s`` owns rows ``starts[s]:starts[s+1]`` of the stream and sees only itself, and
the shared beginning it goes on from, where it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from tunesmith.contracts.policy import Outputs


@dataclass(frozen=True)
class Example:
    """One unit of an objective, tokenised: a sequence, or one beginning with several answers to it.

    ``ids`` int32 ``[n]``; ``trained`` bool ``[n]``: token ``i`` is a target (predicted from the tokens before it);
    ``row`` identifies the source row in the ledger, ``source`` the data source it came from.

    ``branches`` (places in ``ids``, rising): the tokens before the first are a shared beginning, and an answer to it
    begins at each; answer ``k`` reads the beginning and itself, and nothing of the others. Without branches the whole
    is one sequence. The beginning is computed once and holds no target.

    With ``labels`` (int32, see ``contracts.data.Encoding``) a target is a token whose own hidden state is read.
    ``second`` is where the second text of a pair begins for models that mark it by token types; 0 for none.
    ``extras`` are float32 arrays that the objective wrote and reads (a margin, log-probabilities when sampled …).
    """

    ids: NDArray[np.int32]
    trained: NDArray[np.bool_]
    row: int
    source: int = 0
    labels: NDArray[np.int32] | None = None
    second: int = 0
    branches: tuple[int, ...] = ()
    extras: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def sequences(self) -> int:
        """Whole sequences in it: its answers, or itself."""
        return max(1, len(self.branches))

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

    ``parents`` names for each segment the earlier segment whose rows it sees before its own (a shared beginning), or
    -1; a parent has no parent itself. Positions of a segment go on where its parent's end. None: no segment has one.
    """

    starts: torch.Tensor
    lengths: tuple[int, ...]
    cache: KeyValues | None = None
    parents: tuple[int, ...] | None = None

    @property
    def longest(self) -> int:
        """Rows that the last token of some segment sees, at most."""
        if self.parents is None:
            return max(self.lengths)
        return max(
            own + (self.lengths[parent] if parent >= 0 else 0)
            for own, parent in zip(self.lengths, self.parents, strict=True)
        )


@dataclass(frozen=True)
class Stream:
    """Tokens of all segments in turn: ``ids`` int64 ``[T]``, ``positions`` int64 ``[T]``, from 0 in each sequence.

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

    ``rows``, ``labels``, ``unit`` int64 ``[N]``; ``weights`` float32 ``[N]``; ``unit`` is the sequence, it indexes
    ``Batch.unit_ids``. A row may be read twice: the last of a shared beginning predicts the first token of each answer.
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
    """One micro-batch: a stream, its readout, and its sequences (``unit_ids`` int64 ``[U]``: ledger rows)."""

    main: Stream
    readout: Readout
    unit_ids: torch.Tensor
    sources: torch.Tensor
    """int64 ``[U]``: the data source of each sequence, for per-source loss."""
    groups: torch.Tensor
    """int64 ``[U]``: the example (from 0) that each sequence belongs to."""
    examples: int
    """``E``, how many examples there are."""
    extras: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """The examples' ``extras``, those of one name one after the other."""
    beside: Mapping[str, Outputs] = field(default_factory=dict)
    """What the frozen models beside the trained one (``Objective.beside``) gave for this batch; no gradients."""

    @property
    def tokens(self) -> int:
        """Real tokens in the stream."""
        return sum(self.main.layout.lengths)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on ``device``."""
        return replace(
            self,
            main=self.main.to(device),
            readout=self.readout.to(device),
            unit_ids=self.unit_ids.to(device),
            sources=self.sources.to(device),
            groups=self.groups.to(device),
            extras={name: values.to(device) for name, values in self.extras.items()},
        )


class Feed(Protocol):
    """What the engine trains on. A dataset's update ``step`` is a pure function of its number, and its state is empty;
    what is sampled while training depends on the weights, so what is left of it is saved with a checkpoint."""

    def update(self, step: int) -> Sequence[Example]:
        """The examples of optimizer update ``step`` (counted from 0 over all epochs)."""
        ...

    def epoch_of(self, step: int) -> float:
        """How many epochs have passed when update ``step`` begins."""
        ...

    def steps_in(self, epochs: float) -> int:
        """Updates in ``epochs`` passes over the data."""
        ...

    def state(self) -> Mapping[str, torch.Tensor]:
        """What a resumed run needs to go on with the very same updates; empty for a dataset."""
        ...

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what ``state`` gave."""
        ...
