"""What a base makes of a suite, measured once: kept by the content of the base and of the suite, found by every run.

The key is a digest of the base's files, of the suite's rows and of everything that decides an answer (dtype, packing,
template, how long answers may be). Change any of them and the base is asked again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunesmith.evaluation.suite_plan import digest
from tunesmith.files import write_json
from tunesmith.models.load import folder_of
from tunesmith.recipe import Recipe
from tunesmith.run.folder import Run
from tunesmith.run.session import Session, cache_folder

_VERSION = 2
"""raised when the same question would be answered or measured otherwise"""
FILES = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")


def baseline(
    session: Session, suite_content: str, measure: Callable[[], dict[str, Any]], *, raw: bool
) -> dict[str, Any]:
    """The result of the base of ``session``: the one that was kept, or what ``measure`` gives now.

    ``measure`` is called with the method switched off, or before anything was trained.
    """
    recipe = session.recipe
    asked = {
        "version": _VERSION,
        "base": base_content(recipe),
        "suite": suite_content,
        "dtype": recipe.model.dtype,
        "quantize": recipe.model.quantize,
        "template": session.encoder.fingerprint().hex(),
        "raw": raw,
        "tokens": [recipe.data.max_tokens, recipe.evaluate.max_new_tokens],
    }
    path = cache_folder() / "baselines" / f"{digest(asked)}.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        found = measure()
        write_json(path, found)
    return found


def base_content(recipe: Recipe) -> str:
    """Digest of the model that training starts from: the base's files, and those of a run it goes on from."""
    place = folder_of(recipe.model.base)
    parts = [_digest_of(Path(place)) if Path(place).is_dir() else place]
    if recipe.model.start is not None:
        parts.append(_digest_of(Run.open(recipe.model.start).artifact))
    return digest(parts)


def _digest_of(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.suffix in FILES and path.is_file())
    return digest([[path.name, _of_file(path, path.stat().st_mtime_ns)] for path in files])


@lru_cache(maxsize=256)
def _of_file(path: Path, _: int) -> str:
    """Digest of a file's content, read once while its time of change stays the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
