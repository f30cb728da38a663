"""pydantic's errors as sentences: the path a user wrote, what was given, what is allowed, what is closest."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tunesmith.errors import UserError
from tunesmith.recipe.problems import as_user_error
from tunesmith.recipe.schema import Recipe


def error_of(values: dict[str, Any], where: str = "") -> UserError:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(values)
    return as_user_error(caught.value, Recipe, where)


@pytest.mark.parametrize(
    ("values", "code", "said"),
    [
        ({"trian": {}}, "unknown-key", ["unknown option trian", "Did you mean 'train'?"]),
        ({"learning_rate": 1}, "unknown-key", ["unknown option learning_rate", "Did you mean 'train.learning_rate'?"]),
        ({"data": {"train": [{"path": "x", "colums": {}}]}}, "unknown-key", ["data.train.0.colums", "'columns'"]),
        (
            {"train": {"learning_rate": -1}},
            "out-of-range",
            ["train.learning_rate is out of range; got -1", "more than 0"],
        ),
        ({"train": {"epochs": "many"}}, "wrong-type", ["train.epochs has the wrong type; got 'many'", "a number"]),
        ({"train": {"schedule": "cosin"}}, "not-a-choice", ["train.schedule", "Did you mean 'cosine'?"]),
        ({"train": 3}, "wrong-type", ["train has the wrong type; got 3", "a group of options"]),
        ({"method": {}}, "missing-value", ["method.name is missing"]),
        ({"data": {"validation": "x"}}, "wrong-type", ["data.validation has", "allowed: a number or a list"]),
        ({"data": {"validation": 2}}, "out-of-range", ["data.validation is out of range; got 2", "less than 1.0"]),
        ({"train": {"tokens_per_microbatch": -3}}, "out-of-range", ["got -3", "'auto' or more than 0"]),
        ({"train": {"learning_rate": float("nan")}}, "wrong-type", ["a finite number"]),
        ({"data": {"train": [{"path": "x", "columns": {"prompt": 1}}]}}, "wrong-type", ["data.train.0.columns.prompt"]),
    ],
)
def test_sentences(values: dict[str, Any], code: str, said: list[str]) -> None:
    error = error_of(values)
    assert error.code == code
    for part in said:
        assert part in str(error)
    assert "constrained" not in str(error), "pydantic's own names do not show"


def test_an_error_inside_a_union_hides_what_the_other_members_say() -> None:
    error = error_of({"data": {"validation": [{"pth": "x"}]}})
    assert error.what == "unknown option data.validation.0.pth"
    assert error.hint == "Did you mean 'path'? Also: data.validation.0.path is missing."


def test_all_problems_are_told_and_the_place_is_put_before_them() -> None:
    error = error_of({"seed": -1, "train": {"epochs": 0}}, where="recipe")
    assert {error.what, str(error.hint)} == {
        "recipe.seed is out of range",
        "Also: recipe.train.epochs is out of range.",
    }


def test_a_part_of_a_recipe_is_checked_by_its_own_config() -> None:
    from tunesmith.methods import TABLE
    from tunesmith.recipe.parts import build
    from tunesmith.recipe.schema import Part

    assert build(TABLE, Part(name="lora", rank=3)).rank == 3  # type: ignore[attr-defined]
    for fields, code, said in [
        ({"name": "lroa"}, "unknown-method", "Did you mean 'lora'?"),
        ({"name": "lora", "rnk": 3}, "unknown-key", "Did you mean 'rank'?"),
        ({"name": "lora", "rank": 0}, "out-of-range", "method.rank is out of range; got 0; allowed: more than 0"),
        ({"name": "lora", "targets": 3}, "not-a-choice", "method.targets"),
    ]:
        with pytest.raises(UserError) as caught:
            build(TABLE, Part(**fields))
        assert caught.value.code == code
        assert said in str(caught.value)
