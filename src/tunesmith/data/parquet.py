"""Rows of parquet files, bytes among them as ``data:`` URIs, so that JSON holds every row."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError


def parquet_rows(file: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(number from 1, row). Raises ``UserError``: ``missing-extra``, ``bad-parquet``."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise needs_extra(f"reading {file.name} needs pyarrow") from None
    try:
        table = parquet.ParquetFile(file)
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these two
        raise UserError(f"{file} is not a parquet file", got=str(error)[:120], code="bad-parquet") from None
    number, binary = 0, "binary" in str(table.schema_arrow)
    for batch in table.iter_batches(batch_size=1000):
        for row in batch.to_pylist():
            number += 1
            yield number, portable(row) if binary else row


def portable(value: Any) -> Any:
    """``value`` with bytes, however deep, as ``data:`` URIs."""
    if isinstance(value, bytes):
        return f"data:application/octet-stream;base64,{base64.b64encode(value).decode()}"
    if isinstance(value, dict):
        return {key: portable(one) for key, one in value.items()}
    return [portable(one) for one in value] if isinstance(value, list) else value


def needs_extra(what: str) -> UserError:
    """``UserError`` for what the ``data`` extra is needed for."""
    return UserError(what, hint="Install it with: pip install 'tunesmith[data]'", code="missing-extra")
