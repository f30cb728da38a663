"""The reference, the commented recipe and the JSON schema say what the config classes say."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith.recipe import Recipe
from tunesmith.recipe.base import PartConfig
from tunesmith.recipe.commented import commented
from tunesmith.recipe.load import validated
from tunesmith.recipe.reference import json_schema, markdown_table, options, recipe_page
from tunesmith.recipe.yaml12 import read_yaml


class Sample(PartConfig):
    """A part for this test."""

    NAME: ClassVar[str] = "sample"
    rank: Annotated[int, Field(gt=0)] = 4
    """How wide | how deep."""
    mode: Literal["fast", "slow"]
    """Which way."""


def test_every_option_has_a_help_text() -> None:
    silent = [option.path for option in options(Recipe) if not option.help]
    assert silent == []


def test_options_say_what_is_allowed_and_the_default() -> None:
    rank, mode = options(Sample)
    assert (rank.path, rank.allowed, rank.default) == ("rank", "a whole number > 0", "4")
    assert (mode.allowed, mode.default) == ("`fast` | `slow`", None)
    by_path = {option.path: option for option in options(Recipe)}
    assert by_path["train.steps"].allowed == "a whole number > 0 | `null`"
    assert by_path["data.validation"].default == "0.1"
    assert by_path["data.train[].path"].default is None
    assert by_path["train.early_stopping.patience"].default == "3"


def test_a_bar_in_a_cell_does_not_break_the_table() -> None:
    for line in markdown_table(list(options(Sample))).splitlines():
        assert line.replace("\\|", "").count("|") == 5


def test_the_page_has_every_option_once() -> None:
    page = recipe_page(Recipe)
    for option in options(Recipe):
        assert page.count(f"| `{option.path}` |") == 1


def test_a_commented_recipe_sets_exactly_what_was_chosen() -> None:
    chosen = {"name": "no", "data.train": [{"path": "x.jsonl"}], "train.epochs": 2.0, "method": {"name": "full"}}
    values = read_yaml(commented(Recipe, chosen), "commented")
    assert values == {
        "name": "no",
        "data": {"train": [{"path": "x.jsonl"}]},
        "train": {"epochs": 2.0},
        "method": {"name": "full"},
    }


def test_every_line_of_a_live_group_can_be_uncommented() -> None:
    paths = {"model.base": "embedded", "data.max_tokens": 512, "train.epochs": 3.0, "evaluate.before": True}
    text = commented(Recipe, paths)
    names = {option.path.rpartition(".")[2].split("[")[0] for option in options(Recipe)}
    lines = []
    for line in text.splitlines():
        entry = line.lstrip()
        is_option = entry.startswith("# ") and entry[2:].split(":")[0].strip(" -") in names and ": " in entry
        is_item = entry.startswith("# - ") or (entry.startswith("# ") and entry.endswith(":"))
        lines.append(line.replace("# ", "", 1) if is_option or is_item else line)
    assert validated(Recipe, read_yaml("\n".join(lines), "uncommented")) == Recipe()


def test_the_schema_knows_the_fields_of_each_part() -> None:
    schema = json_schema(Recipe, {"method": {"sample": Sample}})
    name, part = schema["properties"]["method"]["anyOf"]
    assert name["enum"] == ["sample"]
    assert part["properties"]["name"] == {"const": "sample"}
    assert part["properties"]["rank"]["exclusiveMinimum"] == 0
    assert part["required"] == ["name", "mode"]
    assert part["additionalProperties"] is False
    assert schema["additionalProperties"] is False
