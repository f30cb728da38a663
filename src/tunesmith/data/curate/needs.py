"""Libraries of the ``curate`` extra."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from tunesmith.errors import UserError


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
