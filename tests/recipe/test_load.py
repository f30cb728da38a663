"""Recipe files and overrides: YAML 1.2 values, refusals that name the place, paths that survive a change of folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import UserError
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import dump, load_values, validated
from tunesmith.recipe.yaml12 import read_yaml, write_yaml


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str, *overrides: str) -> UserError:
    with pytest.raises(UserError) as caught:
        Recipe.load(written(folder, text), list(overrides))
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1E5", 1e5),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("010", 10),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("[1, a]", [1, "a"]),
    ],
)
def test_yaml_follows_the_1_2_rules_in_files_and_overrides(text: str, value: object, tmp_path: Path) -> None:
    path = written(tmp_path, f"name: {text}")
    assert load_values(path)["name"] == value
    assert type(load_values(path)["name"]) is type(value)
    assert load_values(written(tmp_path, ""), [f"name={text}"])["name"] == value


@pytest.mark.parametrize(
    "value", ["no", "2e-4", "true", "", "null", "a: b", "12:30", "x\ny", "é", 1e-5, 2e-4, None, [], {}, [0.9]]
)
def test_written_yaml_reads_back_as_the_same_value(value: object) -> None:
    assert read_yaml(write_yaml({"key": value}), "x") == {"key": value}


def test_the_resolved_recipe_reads_back_equal(tmp_path: Path) -> None:
    recipe = Recipe.load(
        written(
            tmp_path, "data: {train: [{path: rows.jsonl}], validation: [{path: held.jsonl}]}\nmethod: {name: full}"
        ),
        ["train.learning_rate=1e-5", "train.betas=[0.8, 0.95]", "train.early_stopping=null"],
    )
    again = Recipe.load(written(tmp_path, dump(recipe)))
    assert again == recipe
    assert again.train.learning_rate == 1e-5
    assert again.train.betas == (0.8, 0.95)


def test_overrides_reach_groups_lists_and_parts(tmp_path: Path) -> None:
    path = written(tmp_path, "data: {train: [{path: a.jsonl}, {path: b.jsonl}]}\nmethod: {name: lora, rank: 4}")
    recipe = Recipe.load(path, ["train.epochs=2", "data.train.1.weight=2", "method.alpha=8", "model.dtype=float32"])
    assert recipe.train.epochs == 2
    assert [source.weight for source in recipe.data.train] == [1.0, 2.0]
    assert recipe.method.name == "lora"
    assert recipe.method.fields == {"rank": 4, "alpha": 8}
    assert Recipe.load(path, ["method=full"]).method.fields == {}
    assert len(Recipe.load(path, ["data.train.2.path=c.jsonl"]).data.train) == 3
    assert Recipe.load(path, ["train.early_stopping.patience=7"]).train.early_stopping.patience == 7  # type: ignore[union-attr]
    assert Recipe.load(written(tmp_path, "method: lora"), ["method.rank=8"]).method.fields == {"rank": 8}
    assert Recipe.load(written(tmp_path, ""), ["objective.train_on=everything"]).objective.name == "sft"


def test_an_override_never_changes_the_values_of_another_load(tmp_path: Path) -> None:
    path = written(tmp_path, "train: &shared {epochs: 5}\n")
    Recipe.load(path, ["train.epochs=1"])
    assert Recipe.load(path).train.epochs == 5


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.epochs", "not of the form"),
        ("=2", "not of the form"),
        ("train..epochs=2", "not of the form"),
        ("seed.x=2", "plain value"),
        ("data.train.5.weight=2", "list of 0"),
        ("data.train.first.weight=2", "list of 0"),
        ("train.epochs=[1", "not valid YAML"),
    ],
)
def test_a_broken_override_is_named(override: str, told: str, tmp_path: Path) -> None:
    error = refused(tmp_path, "seed: 1\ndata: {train: []}", override)
    assert told in str(error)
    assert override.partition("=")[0] in str(error)


def test_an_override_of_an_unknown_option_suggests_the_right_one(tmp_path: Path) -> None:
    error = refused(tmp_path, "", "train.epoch=2")
    assert "train.epoch" in error.what
    assert error.hint is not None
    assert "epochs" in error.hint


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("trian: {epochs: 1}", "unknown-key", ["trian", "Did you mean 'train'"]),
        ("train: {lerning_rate: 1}", "unknown-key", ["train.lerning_rate", "learning_rate"]),
        ("data: {train: [{paht: x}]}", "unknown-key", ["paht", "path"]),
        ("train: {learning_rate: -1e-4}", "out-of-range", ["train.learning_rate", "-0.0001", "more than 0"]),
        ("train: {epochs: many}", "wrong-type", ["train.epochs", "'many'", "a number"]),
        ("train: {batch_size: 2.5}", "wrong-type", ["train.batch_size", "2.5", "whole number"]),
        ("name: 5", "wrong-type", ["name", "5", "text"]),
        ("train: {schedule: cosin}", "not-a-choice", ["train.schedule", "cosin", "cosine", "Did you mean"]),
        ("train: 5", "wrong-type", ["train", "5", "group of options"]),
        ("data: {validation: many}", "wrong-type", ["data.validation", "many", "number", "list"]),
        ("train: {learning_rate: .nan}", "wrong-type", ["train.learning_rate", "nan"]),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(text: str, code: str, words: list[str], tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert error.code == code
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name: x\nseed: 1\nseed: 2\n", 3, "duplicate key"),
        ("name: x\ntrain: [1,\nb: 2\n", 2, "expected"),
        ("name: x\ntrain:\n\tepochs: 1\n", 3, "cannot start any token"),
        ("a: !!python/object:os.system x\n", 1, "constructor"),
    ],
)
def test_broken_yaml_is_told_with_its_line(text: str, line: int, words: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert error.code == "bad-yaml"
    assert f"line {line}" in str(error)
    assert words in str(error)


def test_what_is_no_recipe_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "- 1\n- 2\n").code == "not-a-recipe"
    with pytest.raises(UserError, match="there is no recipe"):
        Recipe.load(tmp_path / "missing.yaml")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    with pytest.raises(UserError, match="tunesmith init"):
        Recipe.load(rows)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read the recipe"):
        Recipe.load(tmp_path / "binary.yaml")


def test_an_empty_file_is_the_default_recipe(tmp_path: Path) -> None:
    assert Recipe.load(written(tmp_path, "")) == Recipe()


def test_paths_in_a_file_are_relative_to_it_and_those_in_overrides_to_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    (home / "base-model").mkdir(parents=True)
    (home / "runs" / "law").mkdir(parents=True)
    here.mkdir()
    text = """
    model: {base: base-model}
    data:
      train: [{path: rows.jsonl}, {path: some-org/some-set}, {path: ../up.csv}]
      template: mine.jinja
    method: {name: fusion, adapters: [runs/law, ./elsewhere]}
    retention: [kept.txt]
    """
    monkeypatch.chdir(here)
    recipe = Recipe.load(written(home, text), ["data.train.1.path=typed.csv"])
    assert recipe.model.base == str(home / "base-model")
    assert [source.path for source in recipe.data.train] == [
        str(home / "rows.jsonl"),
        str(here / "typed.csv"),
        str(tmp_path / "up.csv"),
    ]
    assert recipe.data.template == str(home / "mine.jinja")
    assert recipe.method.fields["adapters"] == [str(home / "runs" / "law"), str(home / "elsewhere")]
    assert recipe.retention == [str(home / "kept.txt")]


def test_names_that_are_no_files_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "embedded").mkdir()
    (tmp_path / "plain").touch()
    text = "model: {base: embedded}\ndata: {train: [{path: org/set}], template: plain}\nretention: none"
    values = load_values(written(tmp_path, text))
    assert values["model"]["base"] == "embedded"
    assert values["data"]["train"][0]["path"] == "org/set"
    assert values["data"]["template"] == "plain"
    assert values["retention"] == "none"


def test_a_run_folder_is_its_recipe(tmp_path: Path) -> None:
    written(tmp_path, "name: kept")
    assert Recipe.load(tmp_path).name == "kept"


def test_a_part_given_as_a_word_is_its_name() -> None:
    values: dict[str, Any] = {"method": "full"}
    assert validated(Recipe, values).method.name == "full"
