"""Tokens on disk: written in parts, read through memory maps.

While rows are tokenised, every chunk is one file ``part-000012.npz``, written atomically; a killed process loses the
chunk it was in and nothing else. When all chunks are there they are joined into one folder:

    ids.bin       uint16 or int32, all sequences one after the other
    trained.bin   bool, the same length
    labels.bin    int32, labels of all sequences one after the other (empty for language models)
    branches.bin  int32, where the answers of each sequence begin (empty where it is no pair or group)
    extra-X.bin   float32, the objective's own numbers X
    index.npz     offsets int64 [n+1] of each ragged array by name, row int64, source int16, group uint64, piece int32,
                  targets int32, line int32, second int32, labelled bool (each [n])
    store.json    dtype of ids, names of extras;   ledger.json   the ledger
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
RAGGED = {"ids": "", "trained": "bool", "labels": "int32", "branches": "int32"}
"""Arrays that are joined into one file each, with as many items a sequence as it has; and their dtypes."""
EXTRA = "extra-"


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
        about = json.loads((folder / "store.json").read_text())
        with np.load(folder / "index.npz") as index:
            dtypes = RAGGED | {"ids": about["dtype"]} | {EXTRA + name: "float32" for name in about["extras"]}
            self._ragged = {
                name: _Ragged(_mapped(folder / f"{name}.bin", dtype), index[f"{name}_offsets"])
                for name, dtype in dtypes.items()
            }
            self._second: NDArray[np.int32] = index["second"]
            self._labelled: NDArray[np.bool_] = index["labelled"]
            count = len(self._second)
            self.chosen = np.arange(count, dtype=np.int64) if chosen is None else chosen
            self.rows: NDArray[np.int64] = index["row"][self.chosen]
            self.sources: NDArray[np.int16] = index["source"][self.chosen]
            self.lines: NDArray[np.int32] = index["line"][self.chosen]
            self.groups: NDArray[np.uint64] = index["group"][self.chosen]
            self.pieces: NDArray[np.int32] = index["piece"][self.chosen]
            self.trained_counts: NDArray[np.int32] = index["targets"][self.chosen]
        self.extras: list[str] = about["extras"]
        """Names of the numbers that the objective wrote."""

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Example:
        at = int(self.chosen[index])
        ragged = self._ragged
        return Example(
            ids=np.asarray(ragged["ids"][at], dtype=np.int32),
            trained=np.array(ragged["trained"][at]),
            row=int(self.rows[index]),
            source=int(self.sources[index]),
            labels=np.array(ragged["labels"][at]) if self._labelled[at] else None,
            second=int(self._second[at]),
            branches=tuple(ragged["branches"][at].tolist()),
            extras={name: np.array(ragged[EXTRA + name][at]) for name in self.extras},
        )

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence, int64 ``[n]``."""
        offsets = self._ragged["ids"].offsets
        return offsets[self.chosen + 1] - offsets[self.chosen]

    def only(self, mask: NDArray[np.bool_]) -> TokenStore:
        """The sequences where ``mask`` (bool ``[n]``) is set."""
        return TokenStore(self.folder, self.chosen[mask])


@dataclass(frozen=True)
class _Ragged:
    """Item ``at`` is ``values[offsets[at]:offsets[at + 1]]``."""

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    def __getitem__(self, at: int) -> NDArray[Any]:
        return self.values[int(self.offsets[at]) : int(self.offsets[at + 1])]


def example_of(encoding: Encoding, row: int) -> Example:
    """An encoding as the store would give it back."""
    labels = None if encoding.labels is None else np.array(encoding.labels, dtype=np.int32)
    ids, trained = np.array(encoding.ids, dtype=np.int32), np.array(encoding.trained, dtype=np.bool_)
    extras = {name: np.array(values, dtype=np.float32) for name, values in encoding.extras.items()}
    return Example(
        ids, trained, row, labels=labels, second=encoding.second, branches=tuple(encoding.branches), extras=extras
    )


def _mapped(path: Path, dtype: str) -> NDArray[Any]:
    """A file as an array that stays on disk; an empty file, which cannot be mapped, as an empty array."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype=dtype)


def part_path(folder: Path, number: int) -> Path:
    """The file of chunk ``number``."""
    return folder / f"part-{number:06d}.npz"


def write_part(path: Path, sequences: Sequence[Encoded], *, ledger: Ledger, vocabulary: int) -> None:
    """One finished chunk: its sequences and its part of the ledger, atomically."""
    encodings = [one.encoding for one in sequences]
    arrays: dict[str, Any] = {
        "labelled": np.array([one.labels is not None for one in encodings], dtype=np.bool_),
        "second": np.array([one.second for one in encodings], dtype=np.int32),
        "row": np.array([one.row for one in sequences], dtype=np.int64),
        "source": np.array([one.source for one in sequences], dtype=np.int16),
        "line": np.array([one.line for one in sequences], dtype=np.int32),
        "group": np.array([one.group for one in sequences], dtype=np.uint64),
        "targets": np.array([one.trained.count(True) for one in encodings], dtype=np.int32),
        "piece": np.array([one.piece for one in sequences], dtype=np.int32),
        "ledger": np.frombuffer(json.dumps(ledger.to_json()).encode(), dtype=np.uint8),
    }
    ragged: dict[str, tuple[list[Sequence[Any]], Any]] = {
        "ids": ([one.ids for one in encodings], np.uint16 if vocabulary <= 1 << 16 else np.int32),
        "trained": ([one.trained for one in encodings], np.bool_),
        "labels": ([one.labels or [] for one in encodings], np.int32),
        "branches": ([one.branches for one in encodings], np.int32),
    }
    for name in encodings[0].extras if encodings else ():
        ragged[EXTRA + name] = ([one.extras[name] for one in encodings], np.float32)
    for name, (items, dtype) in ragged.items():
        arrays[name] = np.array(list(chain.from_iterable(items)), dtype=dtype)
        arrays[f"{name}_lengths"] = np.array(list(map(len, items)), dtype=np.int64)
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
    extras = sorted({name for path in parts for name in _extras(path)})
    names = [*RAGGED, *extras]
    index: dict[str, list[NDArray[Any]]] = {name: [] for name in INDEX}
    lengths: dict[str, list[NDArray[np.int64]]] = {name: [] for name in names}
    dtype = "uint16"
    with whole_folder(folder) as temporary:
        with ExitStack() as files:
            opened = {name: files.enter_context((temporary / f"{name}.bin").open("wb")) for name in names}
            for path in parts:
                with np.load(path) as part:
                    dtype = str(part["ids"].dtype)
                    for name in names:
                        if name in part:  # a chunk of which nothing is left has no extras
                            opened[name].write(part[name].tobytes())
                            lengths[name].append(part[f"{name}_lengths"])
                    for name, arrays in index.items():
                        arrays.append(part[name])
        joined = {name: np.concatenate(arrays) for name, arrays in index.items()}
        joined |= {f"{name}_offsets": _offsets(np.concatenate(found)) for name, found in lengths.items()}
        np.savez(temporary / "index.npz", **joined)  # type: ignore[arg-type]
        about = {"dtype": dtype, "extras": [name.removeprefix(EXTRA) for name in extras]}
        write_json(temporary / "store.json", about)
        ledger.save(temporary / "ledger.json")


def _extras(part: Path) -> list[str]:
    with np.load(part) as arrays:
        return [name for name in arrays.files if name.startswith(EXTRA) and not name.endswith("_lengths")]


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
