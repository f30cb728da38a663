"""What steps need besides the rows: libraries of the ``curate`` extra, models."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.files import sha256


def needed(library: str, what: str) -> None:
    """``UserError`` (``missing-extra``) where ``library`` is not installed."""
    if find_spec(library) is None:
        raise UserError(
            f"{what} needs {library}", hint="Install it with: pip install 'tunesmith[curate]'", code="missing-extra"
        )


def version_of(library: str) -> bytes:
    """The installed version, b"" where there is none."""
    try:
        return version(library).encode()
    except PackageNotFoundError:
        return b""


def model_digest(name: str) -> bytes:
    """Digest of what decides a model's answers: the files of its folder; the name alone where it is no folder."""
    folder = Path(name).expanduser()
    digest = hashlib.blake2b(name.encode() if not folder.is_dir() else b"", digest_size=20)
    if folder.is_dir():
        inner = [one for one in (folder / "adapter", folder / "model", folder / "recipe.yaml") if one.exists()]
        files = [one for place in inner or [folder] for one in ([place] if place.is_file() else place.rglob("*"))]
        for file in sorted(one for one in files if one.is_file()):
            digest.update(str(file.relative_to(folder)).encode() + bytes.fromhex(sha256(file)))
    return digest.digest()
