"""Stages: each starts where the one before ended, and a stopped programme goes on inside the stage it was in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from running import LORA, Material, StopAt, curve, go
from safetensors.torch import load_file

from tiny_base import make_base, make_rows
from tunesmith.errors import UserError
from tunesmith.recipe import Recipe
from tunesmith.run import Run, programme
from tunesmith.run.programme import expanded, stage_recipes
from tunesmith.run.session import open_session
from tunesmith.run.use import open_run

FLAT = {"schedule": "constant", "warmup": 0.0, "shuffle": False, "evaluate_every": 100, "save_every": 3}
FIRST = {"name": "freeze", "top_layers": 1}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


def staged(material: Material, *stages: dict[str, Any], **train: Any) -> Recipe:
    recipe = material.recipe(**(FLAT | {"epochs": 1} | train))
    return Recipe.model_validate(recipe.model_dump() | {"stages": list(stages)})


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(next((run / "model").glob("*.safetensors")))


def moved(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in first if not torch.equal(first[name], second[name])}


def test_two_stages_with_the_state_carried_are_one_run_of_twice_the_length(material: Material, tmp_path: Path) -> None:
    """Without shuffling every epoch is the same, so nothing tells a second epoch from a second stage but its state."""
    go(material.recipe(**FLAT, epochs=2), tmp_path / "one")
    carried = {"train": {"optimizer_state": "carry"}}
    go(staged(material, {"name": "a"}, {"name": "b", **carried}), tmp_path / "two")
    stages = [tmp_path / "two" / "stages" / name for name in ("1-a", "2-b")]
    assert curve(stages[0]) + curve(stages[1]) == curve(tmp_path / "one")
    assert not moved(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_a_fresh_optimizer_is_another_run(material: Material, tmp_path: Path) -> None:
    go(material.recipe(**FLAT, epochs=2), tmp_path / "one")
    go(staged(material, {"name": "a"}, {"name": "b"}), tmp_path / "two")
    second, whole = curve(tmp_path / "two" / "stages" / "2-b"), curve(tmp_path / "one")
    assert second[0] == whole[len(second)]
    assert second[1] != whole[len(second) + 1]


def test_each_stage_trains_what_it_says(material: Material, tmp_path: Path) -> None:
    run = go(staged(material, {"name": "top", "method": FIRST}, {"name": "all"}), tmp_path / "run")
    base = load_file(next(material.base.glob("*.safetensors")))
    top, every = (weights(tmp_path / "run" / "stages" / name) for name in ("1-top", "2-all"))
    head = ("model.norm.weight", "lm_head.weight")
    assert moved(base, top) == {name for name in base if "layers.1." in name or name in head}
    assert "model.embed_tokens.weight" in moved(top, every)
    assert run.report.steps == 14
    assert [stage["steps"] for stage in run.report.stages] == [7, 7]
    assert run.report.finished


@pytest.mark.parametrize("step", [1, 4, 6])
def test_stopped_inside_a_stage_and_resumed(step: int, material: Material, tmp_path: Path) -> None:
    recipe = staged(material, {"name": "top", "method": FIRST}, {"name": "all", "train": {"optimizer_state": "carry"}})
    go(recipe, tmp_path / "whole")

    class StopInSecond(StopAt):
        def __call__(self, event: Any) -> None:
            if (tmp_path / "run" / "stages" / "2-all" / "recipe.yaml").is_file():
                super().__call__(event)

    stopped = go(recipe, tmp_path / "run", sinks=(StopInSecond(step),))
    assert not stopped.report.finished
    go(recipe, tmp_path / "run", resume=True)
    for stage in ("1-top", "2-all"):
        assert curve(tmp_path / "run" / "stages" / stage) == curve(tmp_path / "whole" / "stages" / stage)
    assert not moved(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_an_adapter_is_folded_in_before_another_method(material: Material, tmp_path: Path) -> None:
    go(staged(material, {"name": "lora", "method": LORA}, {"name": "all"}), tmp_path / "run")
    first, second = (tmp_path / "run" / "stages" / name for name in ("1-lora", "2-all"))
    held_out = json.loads((first / "eval" / "after.json").read_text())["task"]["nll"]["value"]
    handed = json.loads((second / "eval" / "before.json").read_text())["task"]["nll"]["value"]
    assert handed == held_out
    merged = open_run(first).attached.merge()
    start = open_session(Run.open(second).recipe, masters=False).model
    for name, value in merged.state_dict().items():
        assert torch.equal(value, start.state_dict()[name]), name
    assert curve(second)[0] < curve(first)[0]


def test_the_same_adapter_is_gone_on_with(material: Material, tmp_path: Path) -> None:
    method = LORA | {"dropout": 0.0}
    go(material.recipe(**FLAT, epochs=2, method=method), tmp_path / "one")
    parts = ({"name": "a", "method": method}, {"name": "b", "method": method, "train": {"optimizer_state": "carry"}})
    go(staged(material, *parts), tmp_path / "two")
    assert curve(tmp_path / "two" / "stages" / "2-b") == curve(tmp_path / "one")[7:]
    assert (tmp_path / "two" / "adapter").is_symlink()
    one, two = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "two"))
    assert not moved(one, two)


def test_a_staged_run_is_used_like_any_other(material: Material, tmp_path: Path) -> None:
    run = go(staged(material, {"method": FIRST}, {"method": LORA}), tmp_path / "run")
    session = open_run(Run.open(run.folder))
    assert session.recipe.method.name == "lora"
    assert json.loads((run.folder / "report.json").read_text())["run"] == str(run.folder)


@pytest.fixture
def deep(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base says that it has twelve blocks, enough for the default phases."""
    monkeypatch.setattr(programme, "depth", lambda _: 12)
    monkeypatch.setattr(programme, "check_model", lambda _: None)


def test_more_blocks_than_there_are_is_refused_before_the_first_stage(material: Material, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        go(material.recipe(method={"name": "progressive"}, steps=2), tmp_path / "run")
    assert caught.value.code == "not-enough-layers"
    assert "top-1 to top-2" in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("deep")
def test_progressive_is_three_stages(material: Material) -> None:
    recipe = expanded(material.recipe(method={"name": "progressive"}, epochs=10))
    stages = stage_recipes(recipe)
    assert [stage.name for stage in stages] == ["1-head", "2-top-3", "3-all"]
    assert [stage.train.learning_rate for stage in stages] == [1e-3, 1e-4, 1e-5]
    assert [stage.train.epochs for stage in stages] == [2.0, 3.0, 5.0]
    assert [stage.method.name for stage in stages] == ["freeze", "freeze", "full"]
    assert [stage.train.optimizer_state for stage in stages] == ["fresh", "carry", "carry"]


@pytest.mark.parametrize(("family", "first"), [("gpt2", "top-1"), ("llama", "head")])
def test_a_head_that_is_the_embeddings_is_trained_with_the_last_block(family: str, first: str, tmp_path: Path) -> None:
    material = Material(make_base(tmp_path / "base", family), make_rows(tmp_path / "rows.jsonl"))
    phases = [{"train": "head", "learning_rate": 1e-3, "share": 0.5}, {"learning_rate": 1e-4, "share": 0.5}]
    recipe = material.recipe(method={"name": "progressive", "phases": phases}, steps=2)
    notes: list[str] = []
    run = go(recipe, tmp_path / "run", sinks=(lambda event: notes.append(str(event.values.get("text"))),))
    assert run.report.finished
    told = [note for note in notes if "cannot be trained alone" in note]
    tied = family == "gpt2"
    assert ["top-1" in note for note in told] == [True] * tied
    stages = [tmp_path / "run" / "stages" / name for name in (f"1-{first}", "2-all")]
    base, after = load_file(next(material.base.glob("*.safetensors"))), weights(stages[0])
    changed = moved(base, after)
    assert any("h.1." in name for name in changed) == tied
    assert ("lm_head.weight" in changed) == (not tied)
    assert not any("embed" in name or "wte" in name for name in changed)
    assert any("embed" in name or "wte" in name for name in moved(after, weights(stages[1])))


@pytest.mark.usefixtures("deep")
def test_a_task_head_on_a_tied_base_is_trained_alone(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "gpt2")
    recipe = Recipe(
        model={"base": str(base)},
        data={"train": [{"path": "rows.jsonl"}]},
        method="progressive",
        objective={"name": "classify", "labels": ["a", "b"]},
        train={"early_stopping": None},
    )
    assert [stage.name for stage in stage_recipes(expanded(recipe))] == ["1-head", "2-top-3", "3-all"]


def test_a_staged_run_that_was_refused_can_be_started_again(material: Material, tmp_path: Path) -> None:
    refused = staged(material, {"name": "a", "method": {"name": "lora", "targets": ["q_prj"]}}, {"name": "b"})
    with pytest.raises(UserError) as caught:
        go(refused, tmp_path / "run")
    assert caught.value.code == "unknown-target"
    assert not Run(tmp_path / "run").begun
    run = go(staged(material, {"name": "other", "method": FIRST}, {"name": "b"}, steps=2), tmp_path / "run")
    assert run.report.finished
    assert [stage.name for stage in sorted((tmp_path / "run" / "stages").iterdir())] == ["1-other", "2-b"]
    with pytest.raises(UserError) as caught:
        go(staged(material, {"name": "a", "method": FIRST}, {"name": "b"}, steps=2), tmp_path / "run")
    assert caught.value.code == "run-exists"


def test_a_method_that_does_not_fit_the_length_is_refused_before_rows_are_read(
    material: Material, tmp_path: Path
) -> None:
    method = {"name": "adalora", "target_rank": 2, "t_init": 5, "t_final": 10}
    seen: list[Any] = []
    with pytest.raises(UserError) as caught:
        go(material.recipe(method=method, steps=6), tmp_path / "run", sinks=(seen.append,))
    assert (caught.value.code, seen) == ("no-pruning", [])
    with pytest.raises(UserError) as caught:
        go(material.recipe(method=method, epochs=1), tmp_path / "run")
    assert "of 7 updates" in str(caught.value)


def test_rows_longer_than_the_positions_are_told_what_to_type(material: Material, tmp_path: Path) -> None:
    recipe = material.recipe(method={"name": "prompt", "tokens": 20}, steps=1)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"max_tokens": 100_000})})
    with pytest.raises(UserError) as caught:
        go(recipe, tmp_path / "run")
    assert caught.value.code == "too-long-for-model"
    allowed = str(caught.value.allowed).split()[2]
    assert caught.value.hint == f"Set data.max_tokens={allowed}."


def test_progressive_with_steps_and_a_plateau(material: Material) -> None:
    phases = [{"train": "top-1", "learning_rate": 1e-3, "share": 0.25, "plateau": 2}, {"learning_rate": 1e-4}]
    recipe = expanded(material.recipe(method={"name": "progressive", "phases": phases}, steps=8))
    first, second = stage_recipes(recipe)
    assert (first.train.steps, second.train.steps) == (2, 8)
    assert first.train.early_stopping is not None
    assert first.train.early_stopping.patience == 2
    assert second.train.early_stopping is None


@pytest.mark.parametrize(
    ("stages", "code", "says"),
    [
        ([{"train": {"learnin_rate": 1}}], "unknown-key", "stages.0"),
        ([{"train": {"learning_rate": -1}}], None, "stages.0"),
        ([{"method": {"name": "lorra"}}], "unknown-method", "lora"),
        ([{"name": "a"}, {"name": "a"}], "bad-stages", "same name"),
    ],
)
def test_a_wrong_stage_is_refused_before_anything_starts(
    stages: list[dict[str, Any]], code: str | None, says: str, material: Material, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        go(staged(material, *stages), tmp_path / "run")
    assert says in str(caught.value)
    assert code in (None, caught.value.code)
    assert not (tmp_path / "run").exists()


def test_a_start_of_another_base_is_refused(material: Material, tmp_path: Path) -> None:
    go(material.recipe(steps=1), tmp_path / "run")
    recipe = material.recipe(steps=1, model={"base": "embedded", "start": str(tmp_path / "run")})
    with pytest.raises(UserError) as caught:
        go(recipe, tmp_path / "other")
    assert caught.value.code == "start-mismatch"


def test_progressive_besides_stages_is_refused(material: Material, tmp_path: Path) -> None:
    recipe = staged(material, {"name": "a"}).model_copy(update={"method": material.recipe(method="progressive").method})
    with pytest.raises(UserError) as caught:
        go(recipe, tmp_path / "run")
    assert caught.value.code == "cannot-combine"


def test_forgetting_is_told_against_the_base_before_the_first_stage(material: Material, tmp_path: Path) -> None:
    recipe = staged(material, {"method": FIRST}, {"method": LORA}).model_copy(update={"retention": "auto"})
    recipe = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"before": True})})
    run = go(recipe, tmp_path / "run")
    first, last = (
        json.loads((run.folder / "stages" / name / "eval" / file).read_text())["retention"]["nll"]["value"]
        for name, file in (("1-stage-1", "before.json"), ("2-stage-2", "after.json"))
    )
    assert run.report.forgetting["value"] == pytest.approx(last - first, abs=1e-6)


def test_a_second_adapter_run_finds_the_base_s_text(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is the base's, whatever was trained on it in the meantime."""
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    for name, method in (("one", LORA), ("two", LORA | {"rank": 2})):
        recipe = material.recipe(**FLAT, steps=2, method=method).model_copy(update={"retention": "auto"})
        go(recipe, tmp_path / name)
    assert len(list((tmp_path / "cache" / "retention").iterdir())) == 1
