"""A prompt's rows take room in a micro-batch: a run with one computes as many rows at once as one without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running import Material, go

from tunesmith.engine import microbatch

ROOM, VECTORS = 256, 30


def test_a_prompt_means_more_and_smaller_micro_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    cut = microbatch.cut

    def watched(*given: Any, **options: Any) -> Any:
        pieces = cut(*given, **options)
        seen.append([sum(map(len, piece)) + VECTORS * len(piece) for piece in pieces])
        return pieces

    monkeypatch.setattr(microbatch, "cut", watched)
    material, most = Material.make(tmp_path), {}
    for name in ("p-tuning-v2", "prompt"):
        seen.clear()
        recipe = material.recipe(method={"name": name, "tokens": VECTORS}, steps=2, tokens_per_microbatch=ROOM)
        go(recipe, tmp_path / name)
        most[name] = max(max(rows) for rows in seen)
    assert most["prompt"] <= ROOM < most["p-tuning-v2"], "a prefix has no rows, a prompt has"
