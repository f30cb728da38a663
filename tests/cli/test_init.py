"""``init``: a recipe that fits the file, loads as it is, and overwrites nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from said import Tunesmith

from tunesmith.recipe import Recipe


def rows(path: Path, *values: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_recipe_fits_the_file_and_loads(call: Tunesmith, tmp_path: Path) -> None:
    rows(tmp_path / "mine.jsonl", *[{"instruction": f"q{n}", "output": "a"} for n in range(30)])
    said = call("init", "mine.jsonl")
    assert said.code == 0
    assert said.out == "recipe.yaml\n"
    assert "30 rows, format alpaca" in said.err
    assert "tunesmith train recipe.yaml" in said.err
    recipe = Recipe.load("recipe.yaml")
    assert recipe.name == "mine"
    assert recipe.data.train[0].path == str(tmp_path / "mine.jsonl")
    assert recipe.data.train[0].format == "alpaca"
    assert recipe.objective.name == "sft"
    assert "path: mine.jsonl" in Path("recipe.yaml").read_text()


def test_json_tells_the_same(call: Tunesmith, tmp_path: Path) -> None:
    rows(tmp_path / "mine.jsonl", {"prompt": "q", "completion": "a"})
    found = call("init", "mine.jsonl", "--out", "sub/r.yaml", "--json").json
    assert found["recipe"] == "sub/r.yaml"
    assert (found["format"], found["rows"], found["objective"]) == ("prompt-completion", 1, "sft")
    assert Recipe.load("sub/r.yaml").data.train[0].path == str(tmp_path / "mine.jsonl")


def test_one_long_text_is_taken_by_paragraphs(call: Tunesmith, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("One.\nTwo.\n\nThree.\n\n\nFour.\n")
    found = call("init", "book.txt", "--json").json
    assert (found["format"], found["rows"], found["objective"]) == ("paragraphs", 3, "pretrain")


def test_columns_can_be_named(call: Tunesmith, tmp_path: Path) -> None:
    rows(tmp_path / "qa.jsonl", {"question": "q", "reply": "a"})
    assert call("init", "qa.jsonl").code == 2
    assert call("init", "qa.jsonl", "--column", "prompt=question", "--column", "completion=reply").code == 0
    assert Recipe.load("recipe.yaml").data.train[0].columns == {"prompt": "question", "completion": "reply"}


def test_nothing_is_overwritten(call: Tunesmith, tmp_path: Path) -> None:
    rows(tmp_path / "mine.jsonl", {"prompt": "q", "completion": "a"})
    (tmp_path / "recipe.yaml").write_text("kept")
    said = call("init", "mine.jsonl", "--json")
    assert said.code == 2
    assert said.json["error"]["code"] == "recipe-exists"
    assert (tmp_path / "recipe.yaml").read_text() == "kept"


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("none.jsonl", None, "missing-file", "none.jsonl"),
        ("empty.jsonl", "", "empty-file", "empty.jsonl"),
        ("bad.jsonl", '{"prompt": "q", "completion": "a"}\n{"prompt": \n', "bad-json", "line 2"),
        ("odd.jsonl", '{"x": 1}\n', "unknown-data-format", "columns x"),
        ("rows.xls", "x", "unknown-file-type", ".xls"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    name: str, content: str | None, code: str, words: str, call: Tunesmith, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    said = call("init", name, "--json")
    assert said.code == 2
    assert said.json["error"]["code"] == code
    assert words in said.err
    assert not (tmp_path / "recipe.yaml").exists()


@pytest.mark.parametrize(("settings", "template"), [("{}", "plain"), ('{"chat_template": "x"}', "auto")])
def test_a_base_without_a_template_gets_a_plain_one(
    call: Tunesmith, tmp_path: Path, settings: str, template: str
) -> None:
    rows(tmp_path / "mine.jsonl", {"instruction": "q", "output": "a"}, {"instruction": "r", "output": "b"})
    base = tmp_path / "base"
    base.mkdir()
    (base / "tokenizer_config.json").write_text(settings)
    assert call("init", "mine.jsonl", "--model", base).code == 0
    assert Recipe.load(tmp_path / "recipe.yaml").data.template == template


@pytest.mark.parametrize(("folder", "data", "name"), [("my rows", ".", "my rows"), (".hidden", "../.hidden", "hidden")])
def test_the_name_is_one_that_a_run_folder_can_have(
    call: Tunesmith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, data: str, name: str
) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    rows(Path("mine.jsonl"), {"prompt": "q", "completion": "a"})
    assert call("init", data).code == 0
    assert Recipe.load("recipe.yaml").name == name
