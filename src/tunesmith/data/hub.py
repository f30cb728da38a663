"""Data sets of the hub, by the ``datasets`` library; off line only what was downloaded before can be read."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tunesmith.data.parquet import needs_extra, portable
from tunesmith.data.sources import Row, Source
from tunesmith.errors import UserError


def hub_source(path: str, split: str | None) -> Source:
    """The rows of one split of the data set ``path``; images stay as they are stored.

    Raises ``UserError``: ``missing-extra``, ``hub-not-found``.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import datasets
    except ImportError:
        raise needs_extra(f"'{path}' is no file or folder, and reading it as a hub data set needs datasets") from None
    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        loaded = datasets.load_dataset(path, split=split or "train")
    except (OSError, ValueError, RuntimeError) as error:  # datasets' and the hub client's errors derive from these
        raise UserError(
            f"'{path}' is no file or folder here and could not be loaded as a hub data set",
            got=f"{type(error).__name__}: {str(error).splitlines()[0][:160]}",
            hint="Check the spelling and the split, or download it and name the file; off line only what was "
            "downloaded before can be read.",
            code="hub-not-found",
        ) from None
    fingerprint = f"{path}/{split}/{loaded._fingerprint}".encode
    for name, feature in loaded.features.items():
        if isinstance(feature, datasets.Image):
            loaded = loaded.cast_column(name, datasets.Image(decode=False))

    def rows() -> Iterator[Row]:
        for number, row in enumerate(loaded, start=1):
            yield Row(portable(dict(row)), number, path)

    return Source(path, rows, fingerprint)
