"""What objectives share that read a label off a text: where it is read, and its loss term."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import Term
from tunesmith.data.formats.base import BadRow
from tunesmith.objectives.base import by_example, by_sequence

if TYPE_CHECKING:
    import torch

    from tunesmith.contracts.batch import Batch, Example


def read_whole(record: Record, encoder: Encoder, labels: list[int]) -> Encoding:
    """The text (and its pair) with ``labels`` read at the first token (encoders) or the last (decoders)."""
    if record.text is None:
        raise BadRow("the row is a conversation, and the objective needs a text")
    framed = encoder.framed(record.text, record.pair)
    trained = [False] * len(framed.ids)
    trained[0 if encoder.reads_first else -1] = True
    return Encoding(framed.ids, trained, labels=labels, second=framed.second, closing=framed.closing)


def labels_in(record: Record) -> tuple[str, ...]:
    """The labels of a row that must have them."""
    if record.labels is None:
        raise BadRow("the row has no label")
    return record.labels


def numbers_in(example: Example) -> list[int]:
    """The labels of an example as it holds them."""
    return [] if example.labels is None else example.labels.tolist()


def summed(name: str, values: torch.Tensor, batch: Batch) -> list[Term]:
    """One term: ``values`` ``[N]`` of the readout rows, weighted, summed into their examples."""
    return [Term(name, by_example(by_sequence(values, batch), batch))]
