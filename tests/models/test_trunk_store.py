"""What is kept on disk is found again by the next process; what is damaged there is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tunesmith.models.trunk_store import RECORD, DiskStore, make_room

WIDTH = 8
ROOM = 10_000


def open_store(folder: Path, room: int = ROOM, dtype: torch.dtype = torch.bfloat16) -> DiskStore:
    return DiskStore(folder, room, width=WIDTH, dtype=dtype)


def key(number: int) -> bytes:
    return bytes([number]) * 16


def states(number: int, rows: int = 5, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(number)).to(dtype)


def filled(folder: Path, count: int = 3) -> DiskStore:
    store = open_store(folder)
    for number in range(count):
        store.put(key(number), states(number, rows=number + 1))
    return store


def whole(store: DiskStore, count: int = 3) -> list[bool]:
    found = [store.get(key(number)) for number in range(count)]
    return [one is not None and torch.equal(one, states(at, rows=at + 1)) for at, one in enumerate(found)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_found_again_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    wanted = states(1, dtype=dtype)
    first = open_store(tmp_path, dtype=dtype)
    first.put(key(1), wanted)
    for store in (first, open_store(tmp_path, dtype=dtype)):
        assert torch.equal(store.get(key(1)), wanted)
        assert store.held == wanted.nbytes
    assert first.get(key(2)) is None


def test_two_processes_write_into_one_folder(tmp_path: Path) -> None:
    one, other = open_store(tmp_path), open_store(tmp_path)
    one.put(key(0), states(0, rows=1))
    other.put(key(1), states(1, rows=2))
    one.put(key(2), states(2, rows=3))
    assert whole(open_store(tmp_path)) == [True, True, True]


def test_a_changed_byte_loses_one_sequence_which_is_written_anew(tmp_path: Path) -> None:
    filled(tmp_path)
    (file,) = tmp_path.glob("*.states")
    content = bytearray(file.read_bytes())
    content[WIDTH * 2 + 3] ^= 1
    file.write_bytes(content)
    store = open_store(tmp_path)
    assert whole(store) == [True, False, True]
    store.put(key(1), states(1, rows=2))
    assert whole(store) == [True, True, True]
    assert whole(open_store(tmp_path)) == [True, True, True]


@pytest.mark.parametrize("left", [0, 1, WIDTH * 2 * 3 + 4])
def test_a_file_of_states_cut_short(tmp_path: Path, left: int) -> None:
    filled(tmp_path)
    (file,) = tmp_path.glob("*.states")
    os.truncate(file, left)
    assert whole(open_store(tmp_path)) == [end * WIDTH * 2 <= left for end in (1, 3, 6)]


@pytest.mark.parametrize("left", [0, RECORD.size - 1, RECORD.size + 5])
def test_an_index_cut_short(tmp_path: Path, left: int) -> None:
    filled(tmp_path)
    (file,) = tmp_path.glob("*.index")
    os.truncate(file, left)
    assert whole(open_store(tmp_path)) == [number < left // RECORD.size for number in range(3)]


def test_states_that_are_gone(tmp_path: Path) -> None:
    filled(tmp_path)
    next(tmp_path.glob("*.states")).unlink()
    store = open_store(tmp_path)
    assert whole(store) == [False] * 3
    assert store.held == 0


def test_what_does_not_fit_is_not_taken_and_nothing_is_dropped(tmp_path: Path) -> None:
    store = open_store(tmp_path, room=states(0).nbytes)
    store.put(key(0), states(0))
    assert not store.full
    store.put(key(1), states(1))
    assert store.full
    assert store.get(key(1)) is None
    assert torch.equal(store.get(key(0)), states(0))
    assert store.held == states(0).nbytes


def test_a_disk_that_is_full_ends_the_keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_append", refuse)
    store.put(key(7), states(7))
    assert store.full
    assert store.get(key(7)) is None
    assert whole(store) == [True] * 3


def test_room_is_made_by_what_was_used_longest_ago(tmp_path: Path) -> None:
    for number, name in enumerate(("old", "middle", "new", "own")):
        filled(tmp_path / name)
        os.utime(tmp_path / name, (number, number))
    size = sum(file.stat().st_size for file in (tmp_path / "new").iterdir())
    gone = make_room(tmp_path, tmp_path / "own", room=size)
    assert [path.name for path in gone] == ["old", "middle"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "own"]
