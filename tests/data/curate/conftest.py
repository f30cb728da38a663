"""Rows in, what became of them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from curate_rows import Result, Run, result

from tunesmith.data.curate.base import Step
from tunesmith.data.curate.pipeline import curate
from tunesmith.recipe.schema import SourceConfig


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run(rows, step, step …)``: rows curated in this process; a row that is text is written as it is."""

    def curated(rows: list[Any], *steps: Step, **options: Any) -> Result:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        options.setdefault("workers", 1)
        return result(curate([SourceConfig(path=str(path))], steps, cache=tmp_path / "cache", **options))

    return curated
