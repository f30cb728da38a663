"""Files and folders are whole or not there, whenever a process dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith import files


def test_a_failed_write_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"one": 1})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"two": float("nan")})
    assert path.read_text() == '{\n  "one": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_leaves_the_former_folder(tmp_path: Path) -> None:
    path = tmp_path / "adapter"
    with files.whole_folder(path) as folder:
        (folder / "a").write_text("first")

    def interrupted() -> None:
        with files.whole_folder(path) as folder:
            (folder / "a").write_text("second")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (path / "a").read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_between_the_two_renames_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "adapter"
    former = tmp_path / ".adapter.old"
    former.mkdir()
    (former / "a").write_text("first")
    half = tmp_path / ".adapter.123.tmp"
    half.mkdir()
    files.recover(path)
    assert (path / "a").read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_recovering_keeps_the_newer_folder(tmp_path: Path) -> None:
    path = tmp_path / "adapter"
    with files.whole_folder(path) as folder:
        (folder / "a").write_text("second")
    (tmp_path / ".adapter.old").mkdir()
    files.recover(path)
    assert (path / "a").read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]
