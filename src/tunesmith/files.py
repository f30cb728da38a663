"""Files that are either whole or not there: temporary name, fsync, rename.

A killed process leaves the previous file or the new one, never half of either.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 atomically; halves of surrogate pairs, which it has no bytes for, are escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON atomically; NaN and infinity are refused, because JSON has neither."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` only when the block ends without an error (replacing what was there)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with disk_errors(path):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    sync_file(file)
            sync_folder(temporary)
            _swap(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_folder(path.parent)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Within it this process alone works in ``folder``, which is made; others that ask for it wait their turn."""
    import fcntl

    while True:
        # another process may remove the folder between any two of these calls
        with disk_errors(folder):
            _make_folder(folder)
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # whoever had it before may have removed it: then the lock is on a folder that nobody sees any more
            if os.fstat(descriptor).st_ino == _inode(folder):
                yield
                return
        finally:
            os.close(descriptor)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        if path.is_file():
            raise


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _swap(temporary: Path, path: Path) -> None:
    if not path.exists():
        temporary.rename(path)
        return
    old = _former(path)
    shutil.rmtree(old, ignore_errors=True)
    path.rename(old)
    temporary.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def recover(path: Path) -> None:
    """Put back the former ``path`` if a process was killed between two renames; clear what it left half done."""
    old = _former(path)
    if old.is_dir() and not path.exists():
        old.rename(path)
    for left in [old, *path.parent.glob(f".{path.name}.*.tmp")]:
        shutil.rmtree(left, ignore_errors=True)


def _former(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "no space" and "no permission" into a sentence a user can act on; what was saved before stays."""
    try:
        yield
    except Exception as error:
        reason = _disk_reason(error)
        if reason is None:
            raise
        raise UserError(
            f"cannot write {path}: {reason}",
            hint="Everything saved before is untouched; free space or choose another folder, then run the same "
            "command with --resume.",
            code="cannot-write",
        ) from error


def _disk_reason(error: Exception) -> str | None:
    """What the operating system said; None for an error that is not of the disk."""
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return error.strerror or str(error)
    # safetensors tells a full disk as an error of its own, with the system's words at the end
    _, found, words = str(error).partition("I/O error: ")
    return words if found and type(error).__name__ == "SafetensorError" else None


def sync_file(path: Path) -> None:
    """Force the content of ``path`` to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Force the names in ``path`` to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
