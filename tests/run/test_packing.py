"""When a base is packed while it is read: only where nothing has to see it dense, and with the same result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_base import make_base, make_rows
from tunesmith.evaluation.retention import base_key
from tunesmith.events import Event
from tunesmith.models.load import load_model
from tunesmith.recipe import Recipe
from tunesmith.run import packing, session
from tunesmith.run.session import Language, open_session


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("packing")
    make_base(found / "base")
    make_rows(found / "rows.jsonl")
    return found


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def recipe(folder: Path, **more: Any) -> Recipe:
    values: dict[str, Any] = {
        "model": {"base": str(folder / "base"), "quantize": "nf4", "dtype": "float32", "threads": 1},
        "data": {"train": [{"path": str(folder / "rows.jsonl")}], "max_tokens": 128},
        "method": {"name": "lora", "rank": 4},
        "retention": "none",
    }
    return Recipe.model_validate(values | more)


def is_streamed(one: Recipe, *, keyed: bool = True) -> bool:
    tokenizer = Language.of(one).tokenizer
    return packing.reading(one, tokenizer, keyed=keyed, texts=session.retention_cache()) is not None


def test_a_base_is_streamed_where_nothing_has_to_see_it_dense(folder: Path) -> None:
    plain = recipe(folder)
    assert is_streamed(plain)
    assert is_streamed(recipe(folder, objective={"name": "dpo"}))
    assert is_streamed(recipe(folder, retention="auto"), keyed=False)
    assert not is_streamed(recipe(folder, retention="auto"))
    assert not is_streamed(recipe(folder, model={**plain.model.model_dump(), "quantize": "none"}))
    assert not is_streamed(recipe(folder, model={**plain.model.model_dump(), "start": "runs/earlier"}))


def test_the_key_of_the_files_is_that_of_the_model(folder: Path) -> None:
    base = str(folder / "base")
    tokenizer = Language.of(recipe(folder)).tokenizer
    assert packing.key_of(base, tokenizer) == base_key(load_model(base), tokenizer)


def test_the_second_session_is_streamed_and_the_same(folder: Path) -> None:
    """The first one writes the base's own text, for which it has to be dense; objectives with a reference as well."""
    one = recipe(folder, retention="auto", objective={"name": "dpo"})
    told: list[list[Event]] = [[], []]
    first = open_session(one, emit=told[0].append)
    assert is_streamed(one)
    second = open_session(one, emit=told[1].append)
    assert (second.base_key, second.start_key) == (first.base_key, first.start_key)
    assert second.base_key is not None
    assert second.recipe == first.recipe
    ours, theirs = second.model.state_dict(), first.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert [one.values for one in told[1]] == [one.values for one in told[0]]


def test_no_dense_model_is_loaded_where_it_is_streamed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise AssertionError("a dense model was packed")

    monkeypatch.setattr(session, "quantize_model", refused)
    open_session(recipe(folder))
    with pytest.raises(AssertionError, match="dense"):
        open_session(recipe(folder, retention="auto"))
