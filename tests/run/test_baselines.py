"""A base is measured once for everything that decides its answers, and again when any of it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith.recipe import Recipe
from tunesmith.run.baselines import base_content, baseline
from tunesmith.run.resolve import settled


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


class Asked:
    """Asks for a baseline and counts how often it was measured."""

    def __init__(self, base: Path) -> None:
        self.recipe = Recipe(model={"base": str(base), "dtype": "float32"})
        self.measured = 0

    def __call__(self, *, template: str = "t", suite: str = "s", raw: bool = False, recipe: Any = None) -> None:
        session: Any = SimpleNamespace(
            recipe=recipe or self.recipe, encoder=SimpleNamespace(fingerprint=template.encode)
        )

        def measure() -> dict[str, Any]:
            self.measured += 1
            return {"metrics": self.measured}

        baseline(session, suite, measure, raw=raw)


CHANGES: dict[str, Callable[[Recipe], dict[str, Any]]] = {
    "template": lambda _: {"template": "u"},
    "suite": lambda _: {"suite": "other rows"},
    "raw": lambda _: {"raw": True},
    "dtype": lambda recipe: {"recipe": settled(recipe, "model", dtype="bfloat16")},
    "quantize": lambda recipe: {"recipe": settled(recipe, "model", quantize="nf4")},
    "length of rows": lambda recipe: {"recipe": settled(recipe, "data", max_tokens=77)},
    "length of answers": lambda recipe: {"recipe": settled(recipe, "evaluate", max_new_tokens=3)},
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_decides_an_answer_is_part_of_the_key(base: Path, what: str) -> None:
    ask = Asked(base)
    ask()
    ask()
    assert ask.measured == 1
    ask(**CHANGES[what](ask.recipe))
    assert ask.measured == 2
    ask()
    assert ask.measured == 2, "the first is still known"


def test_what_does_not_decide_an_answer_is_not(base: Path) -> None:
    ask = Asked(base)
    ask()
    ask(recipe=settled(ask.recipe.model_copy(update={"seed": 5, "name": "other"}), "train", learning_rate=0.1))
    assert ask.measured == 1


def test_the_files_of_a_base_are_its_content(base: Path) -> None:
    recipe = Recipe(model={"base": str(base)})
    first = base_content(recipe)
    (base / "README.md").write_text("words about it")
    assert base_content(recipe) == first
    (base / "tokenizer.json").write_text("{}")
    assert base_content(recipe) != first
    second = base_content(recipe)
    (base / "config.json").write_text('{"a": 1}')
    assert base_content(recipe) != second
