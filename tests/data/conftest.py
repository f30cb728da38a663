"""Tokenizers of every kind, and quick preparation of a few rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_rows import encode_answers, write_rows
from small_tokenizers import KINDS, trained_tokenizer

from tunesmith.data.chat import ChatEncoder
from tunesmith.data.prepare import Prepared, prepare
from tunesmith.recipe.schema import DataConfig


@pytest.fixture(params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return trained_tokenizer(request.param)


@pytest.fixture(scope="session")
def bytes_tokenizer() -> Any:
    return trained_tokenizer("bytes")


@pytest.fixture(scope="session")
def plain_encoder(bytes_tokenizer: Any) -> ChatEncoder:
    return ChatEncoder.build(bytes_tokenizer, "plain")


Prepare = Callable[..., Prepared]


@pytest.fixture
def ready(tmp_path: Path, plain_encoder: ChatEncoder) -> Prepare:
    """``ready(rows, max_tokens=…)``: rows prepared with a cache of this test, refused (``accept``) as for training."""

    def run(
        rows: list[Any], *, encoder: ChatEncoder = plain_encoder, seed: int = 0, accept: bool = True, **options: Any
    ) -> Prepared:
        path = write_rows(tmp_path / "rows.jsonl", rows)
        options.setdefault("max_lost", 1.0)
        config = DataConfig(train=[{"path": str(path)}], **options)
        cache = tmp_path / "cache"
        prepared = prepare(config, encode_answers, encoder, seed=seed, cache=cache, options_key="answers")
        return prepared.accepted() if accept else prepared

    return run
