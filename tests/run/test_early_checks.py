"""What a method names of its base is looked for before rows are read and weights are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running import Material

from tunesmith.errors import UserError
from tunesmith.models.load import load_model, skeleton
from tunesmith.run import train, training


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


@pytest.fixture(autouse=True)
def _nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr(training, "prepare_with", read)
    monkeypatch.setattr(training, "open_session", read)


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ({"name": "lora", "targets": ["nope"]}, "unknown-target"),
        ({"name": "lora", "rank_pattern": {"nope": 4}}, "unknown-pattern"),
        ({"name": "lora", "rank": 4096}, "rank-too-large"),
        ({"name": "lora", "layers": [77]}, "unknown-layer"),
        ({"name": "lora", "modules_to_save": ["nope"]}, "unknown-module"),
        ({"name": "adalora", "targets": ["nope"]}, "unknown-target"),
        ({"name": "ia3", "targets": ["nope"]}, "unknown-target"),
        ({"name": "adapter", "targets": ["nope"]}, "unknown-target"),
        ({"name": "freeze", "train": ["*nope*"]}, "unknown-pattern"),
        ({"name": "freeze", "top_layers": 77}, "not-enough-layers"),
    ],
)
def test_what_matches_nothing_is_refused_at_once(
    method: dict[str, Any], code: str, material: Material, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        train(material.recipe(method=method, steps=1), out=tmp_path / "run")
    assert caught.value.code == code
    assert not (tmp_path / "run").exists()


def test_a_later_stage_is_looked_at_before_the_first_one(material: Material, tmp_path: Path) -> None:
    stages = [{"method": "full"}, {"method": {"name": "lora", "targets": ["nope"]}}]
    recipe = material.recipe(method="full", steps=1)
    with pytest.raises(UserError) as caught:
        train(type(recipe).model_validate(recipe.model_dump() | {"stages": stages}), out=tmp_path / "run")
    assert caught.value.code == "unknown-target"


@pytest.mark.parametrize(
    ("objective", "code"),
    [
        ({"name": "distill", "teacher": "./nowhere"}, "model-not-found"),
        ({"name": "grpo", "rewards": [{"name": "nowhere.py:good"}]}, "no-reward-function"),
        (
            {
                "name": "grpo",
                "rewards": [{"name": "length", "at_most": 3}],
                "judge": [{"name": "model", "path": "runs/nowhere"}],
            },
            "not-a-run",
        ),
    ],
)
@pytest.mark.parametrize("staged", [False, True])
def test_what_an_objective_names_is_looked_for_before_the_first_stage(
    objective: dict[str, Any], code: str, staged: bool, material: Material, tmp_path: Path
) -> None:
    recipe = material.recipe(method="full", steps=1)
    changes: dict[str, Any] = {"objective": objective}
    if staged:
        changes = {"stages": [{"name": "first"}, {"name": "second", **changes}]}
    with pytest.raises(UserError) as caught:
        train(type(recipe).model_validate(recipe.model_dump() | changes), out=tmp_path / "run")
    assert caught.value.code == code
    assert not (tmp_path / "run").exists()


def test_what_an_earlier_stage_will_make_is_not_looked_for(material: Material) -> None:
    from tunesmith.run.programme import stage_recipes

    recipe = material.recipe(method="full", steps=1)
    rewards = [{"name": "model", "path": "stage:first"}]
    stages = [
        {"name": "first", "objective": {"name": "reward"}},
        {"name": "second", "start": "base", "objective": {"name": "grpo", "rewards": rewards}},
    ]
    assert len(stage_recipes(type(recipe).model_validate(recipe.model_dump() | {"stages": stages}))) == 2


def test_a_skeleton_has_the_model_s_parameters_and_none_of_their_memory(material: Material) -> None:
    base = str(material.recipe(method="full", steps=1).model.base)
    bare, whole = skeleton(base), load_model(base)
    shapes = {name: value.shape for name, value in whole.named_parameters(remove_duplicate=False)}
    assert {name: value.shape for name, value in bare.named_parameters(remove_duplicate=False)} == shapes
    assert all(value.is_meta for value in bare.parameters())
