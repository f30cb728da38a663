"""Where the states of a frozen trunk are kept: in memory, or on disk, memory-mapped and found again by the next run.

A folder of parts, one for each process that wrote, each two files that only grow: ``part-X.states`` (the rows of one
sequence after the other, in the trunk's own dtype) and ``part-X.index`` (``RECORD`` for each: what it is of, where it
begins, how many rows, a checksum). The index is written after the states, and a sequence's checksum is compared when it
is first read, so half a write, a damaged disk or a file cut short costs computing those sequences again, and no more.

Both are bounded. What is full takes nothing more and drops nothing: every epoch comes back to every row, so to make
room for a new row would drop one that is needed sooner.

Shape legend: ``n`` rows of a sequence, ``d`` the model's width.
"""

from __future__ import annotations

import os
import shutil
import struct
import uuid
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

RECORD = struct.Struct("<16sQQI")
"""Key, first byte, rows, CRC-32 of the bytes."""


class Store(Protocol):
    """States ``[n, d]`` by 16-byte keys."""

    room: int
    """Bytes it may hold."""
    held: int
    """Bytes it holds."""
    full: bool
    """Whether something was not taken for want of room."""

    def get(self, key: bytes) -> torch.Tensor | None:
        """What is kept, on the CPU, not to be changed; or None."""
        ...

    def put(self, key: bytes, states: torch.Tensor) -> None:
        """Keep ``states``, if there is room."""
        ...


class MemoryStore:
    """In this process's memory."""

    def __init__(self, room: int) -> None:
        self.room, self.held, self.full = room, 0, False
        self._kept: dict[bytes, torch.Tensor] = {}

    def get(self, key: bytes) -> torch.Tensor | None:
        """What is kept, or None."""
        return self._kept.get(key)

    def put(self, key: bytes, states: torch.Tensor) -> None:
        """Keep a copy of ``states``, if there is room."""
        if key in self._kept:
            return
        if self.held + states.nbytes > self.room:
            self.full = True
            return
        # a copy: a view would hold all of its micro-batch
        self._kept[key] = states.detach().to("cpu", copy=True)
        self.held += states.nbytes


@dataclass
class _Part:
    """A pair of files; ``states`` as they were mapped last."""

    path: Path
    states: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))

    def read(self, first: int, count: int) -> NDArray[np.uint8]:
        """``count`` bytes from ``first``; fewer where the file is shorter."""
        if first + count > len(self.states) and self.path.is_file() and self.path.stat().st_size >= first + count:
            # copy-on-write: torch wants memory that could be written to, and nothing here writes
            self.states = np.memmap(self.path, dtype=np.uint8, mode="c")
        return self.states[first : first + count]


@dataclass
class _Entry:
    part: _Part
    first: int
    rows: int
    check: int
    checked: bool = False


class DiskStore:
    """In ``folder``, whose name stands for the trunk: the same folder is only ever used for the same one."""

    def __init__(self, folder: Path, room: int, *, width: int, dtype: torch.dtype) -> None:
        self.folder, self.room, self.full = folder, room, False
        self._width, self._dtype = width, dtype
        self._entries: dict[bytes, list[_Entry]] = {}
        self._own: _Part | None = None
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        for index in sorted(folder.glob("part-*.index")):
            self._read_index(index)
        self.held = sum(self._size(entry.rows) for entries in self._entries.values() for entry in entries)

    def get(self, key: bytes) -> torch.Tensor | None:
        """What is kept, or None: also where it turns out to be damaged, which is then forgotten."""
        entries = self._entries.get(key, [])
        while entries:
            entry = entries[-1]
            found = entry.part.read(entry.first, self._size(entry.rows))
            if entry.checked or (len(found) == self._size(entry.rows) and zlib.crc32(found.data) == entry.check):
                entry.checked = True
                return torch.from_numpy(found).view(self._dtype).view(entry.rows, self._width)
            self.held -= self._size(entries.pop().rows)
        return None

    def put(self, key: bytes, states: torch.Tensor) -> None:
        """Write ``states``, if there is room and the disk takes it."""
        if self._entries.get(key):
            return
        if self.held + states.nbytes > self.room:
            self.full = True
            return
        content = states.detach().to("cpu", self._dtype).contiguous().view(torch.uint8).numpy().tobytes()
        try:
            entry = self._append(key, content, len(states))
        except OSError:  # a full disk ends the keeping, not the training
            self.full, self.room = True, 0
            return
        self._entries[key] = [entry]
        self.held += len(content)

    def _append(self, key: bytes, content: bytes, rows: int) -> _Entry:
        self._own = self._own or _Part(self.folder / f"part-{uuid.uuid4().hex[:12]}.states")
        check = zlib.crc32(content)
        with self._own.path.open("ab") as states:
            first = states.tell()
            states.write(content)
        with self._own.path.with_suffix(".index").open("ab") as index:
            index.write(RECORD.pack(key, first, rows, check))
        return _Entry(self._own, first, rows, check, checked=True)

    def _read_index(self, index: Path) -> None:
        part, content = _Part(index.with_suffix(".states")), index.read_bytes()
        whole = len(content) - len(content) % RECORD.size
        for key, first, rows, check in RECORD.iter_unpack(content[:whole]):
            self._entries.setdefault(key, []).append(_Entry(part, first, rows, check))

    def _size(self, rows: int) -> int:
        return rows * self._width * self._dtype.itemsize


def make_room(root: Path, keep: Path, *, room: int) -> list[Path]:
    """Delete folders of ``root`` other than ``keep``, used longest ago first, until they hold at most ``room`` bytes.

    A process that still reads one of them keeps what it has mapped.
    """
    others = [path for path in root.iterdir() if path.is_dir() and path != keep] if root.is_dir() else []
    sizes = {path: _held(path) for path in others}
    gone: list[Path] = []
    for path in sorted(others, key=lambda path: path.stat().st_mtime):
        if sum(sizes[one] for one in others if one not in gone) <= room:
            break
        shutil.rmtree(path, ignore_errors=True)
        gone.append(path)
    return gone


def _held(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
