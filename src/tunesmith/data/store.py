"""Tokens on disk: written in parts, read through memory maps.

While rows are tokenised, every chunk is one file ``part-000012.npz``, written atomically; a killed process loses the
chunk it was in and nothing else. When all chunks are there they are joined into one folder:

    ids.bin       uint16 or int32, all sequences one after the other
    trained.bin   bool, the same length
    labels.bin    int32, labels of all sequences one after the other (empty for language models)
    index.npz     offsets int64 [n+1], label_offsets int64 [n+1], row int64, source int16, group uint64, piece int32,
                  targets int32, line int32, second int32, labelled bool (each [n])
    store.json    dtype of ids;   ledger.json   the ledger
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Encoding
from tunesmith.data.ledger import Ledger
from tunesmith.files import whole_folder, write_bytes, write_json

INDEX = ("row", "source", "line", "group", "piece", "targets", "second", "labelled")
TOKENS = ("ids", "trained", "labels")
"""Arrays that are joined into one file each."""


@dataclass(frozen=True)
class Encoded:
    """One encoding with where it came from; ``group`` is the hash of its prompt, which the split never parts."""

    encoding: Encoding
    row: int
    source: int
    line: int
    group: int
    piece: int = 0
    """Which piece of a long text this is; 0 for all that must stay together."""


class TokenStore:
    """Sequences of one folder, or those that ``chosen`` (int64 indices) names; ``store[i]`` is an ``Example``."""

    def __init__(self, folder: Path, chosen: NDArray[np.int64] | None = None) -> None:
        self.folder = folder
        dtype = json.loads((folder / "store.json").read_text())["dtype"]
        with np.load(folder / "index.npz") as index:
            self._offsets: NDArray[np.int64] = index["offsets"]
            self._label_offsets: NDArray[np.int64] = index["label_offsets"]
            self._second: NDArray[np.int32] = index["second"]
            self._labelled: NDArray[np.bool_] = index["labelled"]
            count = len(self._offsets) - 1
            self.chosen = np.arange(count, dtype=np.int64) if chosen is None else chosen
            self.rows: NDArray[np.int64] = index["row"][self.chosen]
            self.sources: NDArray[np.int16] = index["source"][self.chosen]
            self.lines: NDArray[np.int32] = index["line"][self.chosen]
            self.groups: NDArray[np.uint64] = index["group"][self.chosen]
            self.pieces: NDArray[np.int32] = index["piece"][self.chosen]
            self.trained_counts: NDArray[np.int32] = index["targets"][self.chosen]
        self._ids = _mapped(folder / "ids.bin", dtype)
        self._trained = _mapped(folder / "trained.bin", "bool")
        self._labels = _mapped(folder / "labels.bin", "int32")

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Example:
        at = int(self.chosen[index])
        span = slice(int(self._offsets[at]), int(self._offsets[at + 1]))
        ids = np.asarray(self._ids[span], dtype=np.int32)
        row, source = int(self.rows[index]), int(self.sources[index])
        labels = None
        if self._labelled[at]:
            labels = np.array(self._labels[int(self._label_offsets[at]) : int(self._label_offsets[at + 1])])
        return Example(ids, np.array(self._trained[span]), row, source, labels, int(self._second[at]))

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence, int64 ``[n]``."""
        return self._offsets[self.chosen + 1] - self._offsets[self.chosen]

    def only(self, mask: NDArray[np.bool_]) -> TokenStore:
        """The sequences where ``mask`` (bool ``[n]``) is set."""
        return TokenStore(self.folder, self.chosen[mask])


def example_of(encoding: Encoding, row: int) -> Example:
    """An encoding as the store would give it back."""
    labels = None if encoding.labels is None else np.array(encoding.labels, dtype=np.int32)
    ids, trained = np.array(encoding.ids, dtype=np.int32), np.array(encoding.trained, dtype=np.bool_)
    return Example(ids, trained, row, labels=labels, second=encoding.second)


def _mapped(path: Path, dtype: str) -> NDArray[Any]:
    """A file as an array that stays on disk; an empty file, which cannot be mapped, as an empty array."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype=dtype)


def part_path(folder: Path, number: int) -> Path:
    """The file of chunk ``number``."""
    return folder / f"part-{number:06d}.npz"


def write_part(path: Path, sequences: Sequence[Encoded], *, ledger: Ledger, vocabulary: int) -> None:
    """One finished chunk: its sequences and its part of the ledger, atomically."""
    dtype = np.uint16 if vocabulary <= 1 << 16 else np.int32
    ids = list(chain.from_iterable(one.encoding.ids for one in sequences))
    trained = b"".join(bytes(one.encoding.trained) for one in sequences)
    labels = [one.encoding.labels or [] for one in sequences]
    arrays: dict[str, Any] = {
        "ids": np.array(ids, dtype=dtype),
        "trained": np.frombuffer(trained, dtype=np.bool_),
        "labels": np.array(list(chain.from_iterable(labels)), dtype=np.int32),
        "label_lengths": np.array(list(map(len, labels)), dtype=np.int64),
        "labelled": np.array([one.encoding.labels is not None for one in sequences], dtype=np.bool_),
        "second": np.array([one.encoding.second for one in sequences], dtype=np.int32),
        "lengths": np.array([len(one.encoding.ids) for one in sequences], dtype=np.int64),
        "row": np.array([one.row for one in sequences], dtype=np.int64),
        "source": np.array([one.source for one in sequences], dtype=np.int16),
        "line": np.array([one.line for one in sequences], dtype=np.int32),
        "group": np.array([one.group for one in sequences], dtype=np.uint64),
        "targets": np.array([one.encoding.trained.count(True) for one in sequences], dtype=np.int32),
        "piece": np.array([one.piece for one in sequences], dtype=np.int32),
        "ledger": np.frombuffer(json.dumps(ledger.to_json()).encode(), dtype=np.uint8),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def read_ledger(parts: Sequence[Path], ledger: Ledger) -> Ledger:
    """``ledger`` with the parts' ledgers added, in their order."""
    for path in parts:
        with np.load(path) as part:
            ledger.merge(Ledger.from_json(json.loads(part["ledger"].tobytes())))
    return ledger


def join_parts(parts: Sequence[Path], folder: Path, *, ledger: Ledger) -> None:
    """Join finished chunks into the store ``folder``, whole or not at all; one chunk in memory at a time."""
    index: dict[str, list[NDArray[Any]]] = {name: [] for name in (*INDEX, "lengths", "label_lengths")}
    dtype = "uint16"
    with whole_folder(folder) as temporary:
        with ExitStack() as files:
            opened = {name: files.enter_context((temporary / f"{name}.bin").open("wb")) for name in TOKENS}
            for path in parts:
                with np.load(path) as part:
                    dtype = str(part["ids"].dtype)
                    for name, file in opened.items():
                        file.write(part[name].tobytes())
                    for name, arrays in index.items():
                        arrays.append(part[name])
        joined: dict[str, Any] = {name: np.concatenate(arrays) for name, arrays in index.items()}
        offsets, label_offsets = _offsets(joined.pop("lengths")), _offsets(joined.pop("label_lengths"))
        np.savez(temporary / "index.npz", offsets=offsets, label_offsets=label_offsets, **joined)
        write_json(temporary / "store.json", {"dtype": dtype})
        ledger.save(temporary / "ledger.json")


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
