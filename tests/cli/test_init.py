"""``init``: a recipe that fits the file, loads as it is, and overwrites nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from said import Tunesmith
from small_model import write_model

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


@pytest.mark.parametrize(
    ("settings", "template"),
    [("{}", "plain"), ('{"chat_template": null}', "plain"), ('{"chat_template": "x"}', "auto")],
)
def test_a_base_without_a_template_gets_a_plain_one(
    call: Tunesmith, tmp_path: Path, settings: str, template: str
) -> None:
    rows(tmp_path / "mine.jsonl", {"instruction": "q", "output": "a"}, {"instruction": "r", "output": "b"})
    base = tmp_path / "base"
    base.mkdir()
    (base / "tokenizer_config.json").write_text(settings)
    assert call("init", "mine.jsonl", "--model", base).code == 0
    assert Recipe.load(tmp_path / "recipe.yaml").data.template == template


def base(folder: Path, *, positions: int) -> Path:
    """A base that counts a token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir()
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": positions}))
    return folder


@pytest.mark.parametrize(
    ("long", "words", "positions", "size", "overlong"),
    [
        (0, 900, 1024, 512, "drop"),
        (1, 900, 1024, 512, "drop"),
        (10, 900, 1024, 1024, "drop"),
        (10, 900, 512, 512, "cut"),
        (10, 900, 256, 256, "cut"),
        (10, 9000, 4096, 1024, "cut"),
    ],
)
def test_long_rows_are_made_to_fit(
    call: Tunesmith, tmp_path: Path, long: int, words: int, positions: int, size: int, overlong: str
) -> None:
    short = [{"prompt": f"q{n}", "completion": "a"} for n in range(100 - long)]
    rows(tmp_path / "mine.jsonl", *short, *[{"prompt": "q", "completion": "a " * words}] * long)
    assert call("init", "mine.jsonl", "--model", base(tmp_path / "base", positions=positions)).code == 0
    data = Recipe.load("recipe.yaml").data
    assert (data.max_tokens, data.overlong) == (size, overlong)
    assert ("10% of the rows looked at are longer than" in Path("recipe.yaml").read_text()) is (long == 10)


def test_questions_that_leave_no_room_for_an_answer_are_told(call: Tunesmith, tmp_path: Path) -> None:
    rows(tmp_path / "mine.jsonl", *[{"prompt": "q " * 600, "completion": "a"}] * 9, {"prompt": "q", "completion": "a"})
    said = call("init", "mine.jsonl", "--model", base(tmp_path / "base", positions=512))
    assert "In 90% of the rows the answer begins beyond 512 tokens" in said.err


def test_labelled_rows_take_no_more_tokens_than_they_have(call: Tunesmith, tmp_path: Path) -> None:
    texts = [{"text": "so " * n, "label": "yes"} for n in range(1, 41)]
    rows(tmp_path / "mine.jsonl", *texts)
    assert call("init", "mine.jsonl", "--model", base(tmp_path / "base", positions=512)).code == 0
    data = Recipe.load("recipe.yaml").data
    assert (data.max_tokens, data.overlong) == (48, "cut")  # 40 words and 8 around them


def test_the_recipe_for_long_rows_trains(call: Tunesmith, tmp_path: Path) -> None:
    model = write_model(tmp_path / "base", template=None)
    rows(tmp_path / "mine.jsonl", *[{"instruction": f"q{n}", "output": "a" * 700} for n in range(20)])
    assert call("init", "mine.jsonl", "--model", model).code == 0
    report = call("data", "report", "recipe.yaml", "--json").json
    assert (report["refusal"], report["cut"]) == (None, 20)


def test_preferences_get_the_objective_that_learns_from_them(call: Tunesmith, tmp_path: Path) -> None:
    asked = [{"from": "human", "value": "q"}]
    answers = {name: {"from": "gpt", "value": name} for name in ("chosen", "rejected")}
    rows(tmp_path / "talks.jsonl", *[{"conversations": asked, **answers}] * 3)
    rows(tmp_path / "pairs.jsonl", {"prompt": "q", "chosen": "a", "rejected": "b"})
    rows(tmp_path / "marked.jsonl", {"prompt": "q", "completion": "a", "label": True})
    rows(tmp_path / "near.jsonl", {"anchor": "q", "positive": "a"})
    for name, objective in (("talks", "dpo"), ("pairs", "dpo"), ("marked", "kto"), ("near", "embed")):
        said = call("init", f"{name}.jsonl", "--out", f"{name}.yaml", "--json")
        assert (said.code, said.json["objective"]) == (0, objective), name
        assert Recipe.load(f"{name}.yaml").objective.name == objective
    rows(tmp_path / "both.jsonl", {"instruction": "q", "output": "a", "chosen": "a", "rejected": "b"})
    said = call("init", "both.jsonl", "--out", "c.yaml")
    assert "objective=dpo" in said.err
    assert Recipe.load("c.yaml").objective.name == "sft"


def test_a_file_of_several_splits_needs_one(call: Tunesmith, tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(json.dumps({"train": [["a", "x"], ["b", "y"]], "test": [["c", "x"]]}))
    said = call("init", "all.json")
    assert (said.code, "--split NAME" in said.err) == (2, True)
    assert call("init", "all.json", "--split", "train").code == 0
    assert Recipe.load("recipe.yaml").data.train[0].split == "train"


@pytest.mark.parametrize(("folder", "data", "name"), [("my rows", ".", "my rows"), (".hidden", "../.hidden", "hidden")])
def test_the_name_is_one_that_a_run_folder_can_have(
    call: Tunesmith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, data: str, name: str
) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    rows(Path("mine.jsonl"), {"prompt": "q", "completion": "a"})
    assert call("init", data).code == 0
    assert Recipe.load("recipe.yaml").name == name
