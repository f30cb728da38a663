"""Whole runs with add-ons, mixed sources and curricula: what is told, what is kept, and that a resumed run is equal."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tiny_base import make_base, make_rows
from tunesmith.data import prepare as tokens
from tunesmith.engine.sinks.jsonl import read
from tunesmith.errors import UserError
from tunesmith.recipe import Recipe
from tunesmith.run import Run, continual, train
from tunesmith.run.sequence import summary

LORA = {"name": "lora", "rank": 4, "alpha": 8, "dropout": 0.1}
STORIES = "".join(f"The river is called Anna and it is number {n}. Count to seven.\n<|endoftext|>\n" for n in range(30))


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two files of conversations with a difficulty and a tone, and a file of stories."""
    folder = tmp_path_factory.mktemp("material")
    make_base(folder / "base")
    for name, count in (("first", 40), ("second", 20)):
        lines = make_rows(folder / "plain.jsonl", count).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) | {"hard": -number, "tone": name} for number, line in enumerate(lines)]
        for row in rows:
            row["messages"][0]["content"] += f" ({name})"
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "stories.txt").write_text(STORIES, encoding="utf-8")
    return folder


def recipe(material: Path, *, data: dict[str, Any] | None = None, **options: Any) -> Recipe:
    values: dict[str, Any] = {
        "seed": 3,
        "model": {"base": str(material / "base"), "dtype": "float32"},
        "data": {
            "train": [{"path": str(material / f"{name}.jsonl")} for name in ("first", "second")],
            "max_tokens": 128,
            "workers": 1,
            **(data or {}),
        },
        "method": LORA,
        "train": {
            "steps": 6,
            "batch_size": 6,
            "learning_rate": 2e-3,
            "evaluate_every": 3,
            "save_every": 2,
            "keep": 9,
            **options.pop("train", {}),
        },
        "evaluate": {"prompts": 0, "before": False},
        "retention": "none",
    }
    return Recipe(**{**values, **options})


def go(asked: Recipe, out: Path, *, resume: bool = False) -> Run:
    return train(asked, out=out, resume=resume, switch_proofs_off=True)


def result(run: Path) -> dict[str, torch.Tensor]:
    (file,) = [*run.glob("adapter/*.safetensors"), *run.glob("model/*.safetensors")]
    return load_file(file)


def events(run: Run, kind: str) -> list[dict[str, Any]]:
    return [event for event in read(run.events) if event["kind"] == kind]


def stories(material: Path) -> list[dict[str, str]]:
    return [{"path": str(material / "stories.txt")}]


def forget(folder: Path, *, after: int) -> None:
    """Make of a finished run one that was killed after update ``after``."""
    for path in (folder / "checkpoints").glob("step-*"):
        if int(path.name.removeprefix("step-")) > after:
            shutil.rmtree(path)
    (folder / "report.json").unlink()
    for name in ("adapter", "model"):
        shutil.rmtree(folder / name, ignore_errors=True)


ADDONS: dict[str, list[dict[str, Any]]] = {
    "ewc and replay": [{"name": "ewc", "weight": 10.0, "rows": 6}, {"name": "replay", "share": 0.25, "data": "own"}],
    "kl and noise": [{"name": "kl", "weight": 0.5}, {"name": "neftune"}],
    "kl on text": [{"name": "kl", "weight": 0.5, "data": "own", "share": 0.3}],
    "r-drop and l2": [{"name": "r-drop"}, {"name": "l2", "weight": 0.1}],
    "reptile": [{"name": "reptile", "inner_steps": 3}],
}


@pytest.mark.parametrize("name", ADDONS)
@pytest.mark.parametrize("method", [LORA, {"name": "full"}], ids=["lora", "full"])
def test_a_resumed_run_is_the_uninterrupted_one(
    name: str, method: dict[str, Any], material: Path, tmp_path: Path
) -> None:
    if name == "r-drop and l2" and method["name"] == "full":
        pytest.skip("nothing in the tiny base drops")
    addons = [{**one, **({"data": stories(material)} if one.get("data") == "own" else {})} for one in ADDONS[name]]
    asked = recipe(material, addons=addons, method=method)
    whole = go(asked, tmp_path / "run")
    wanted = result(whole.folder)
    losses = [event["loss"] for event in events(whole, "step")]
    assert all(map(math.isfinite, losses))
    forget(whole.folder, after=4 if name == "reptile" else 2)
    again = go(asked, whole.folder, resume=True)
    assert [event["loss"] for event in events(again, "step")] == losses
    found = result(again.folder)
    assert all(torch.equal(found[key], value) for key, value in wanted.items())


def test_losses_are_told_by_source(material: Path, tmp_path: Path) -> None:
    asked = recipe(material, addons=[{"name": "replay", "share": 0.25, "data": stories(material)}])
    run = go(asked, tmp_path / "run")
    steps, evaluations = events(run, "step"), events(run, "evaluation")
    assert all({"nll", "nll/first", "nll/second", "nll/replay"} >= set(event["terms"]) for event in steps)
    assert any({"nll/first", "nll/second", "nll/replay"} <= set(event["terms"]) for event in steps)
    for event in evaluations:
        first, second = event["validation_loss/first"], event["validation_loss/second"]
        assert min(first, second) <= event["validation_loss"] <= max(first, second)


def test_an_unknown_addon_or_option_is_refused_before_anything_is_loaded(material: Path, tmp_path: Path) -> None:
    for addons, code in (([{"name": "ewk"}], "unknown-addon"), ([{"name": "ewc", "wieght": 1.0}], "unknown-key")):
        with pytest.raises(UserError) as raised:
            go(recipe(material, addons=addons), tmp_path / code)
        assert raised.value.code == code
    assert not list(tmp_path.glob("*/checkpoints"))


ORDERS: list[dict[str, Any]] = [
    {"name": "length"},
    {"name": "perplexity"},
    {"name": "column", "column": "hard", "pace": "sorted"},
    {"name": "random", "hard_first": True},
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order["name"])
def test_a_curriculum_resumes_exactly(order: dict[str, Any], material: Path, tmp_path: Path) -> None:
    asked = recipe(material, train={"order": order}, data={"mixing": {"temperature": 2.0}})
    whole = go(asked, tmp_path / "run")
    wanted = result(whole.folder)
    forget(whole.folder, after=2)
    found = result(go(asked, whole.folder, resume=True).folder)
    assert all(torch.equal(found[key], value) for key, value in wanted.items())
    plain = result(go(recipe(material), tmp_path / "plain").folder)
    assert any(not torch.equal(plain[key], value) for key, value in wanted.items())


def test_a_column_without_numbers_is_refused(material: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        go(recipe(material, train={"order": {"name": "column", "column": "tone"}}), tmp_path / "run")
    assert raised.value.code == "bad-difficulty"
    assert "line 1 has no number" in str(raised.value)


def test_later_stages_keep_what_earlier_ones_learned(material: Path, tmp_path: Path) -> None:
    """``data: earlier`` stands for the rows of the stages before, and for nothing in the first."""
    first, second = ({"train": [{"path": str(material / f"{name}.jsonl")}]} for name in ("first", "second"))
    asked = recipe(
        material,
        addons=[{"name": "replay", "share": 0.3, "data": "earlier"}, {"name": "ewc", "rows": 4, "data": "earlier"}],
        stages=[{"name": "one", "data": first}, {"name": "two", "data": second}],
    )
    run = go(asked, tmp_path / "run")
    stages = [Run(run.stage_folder(number, name)) for number, name in enumerate(("one", "two"))]
    assert stages[0].recipe.addons == []
    assert [one.fields["data"][0]["path"] for one in stages[1].recipe.addons] == [first["train"][0]["path"]] * 2
    assert any("nll/replay" in event.get("terms", {}) for event in events(stages[1], "step"))
    assert all(event["penalty"] > 0.0 for event in events(stages[1], "step")[1:])


def test_rows_of_earlier_stages_are_curated_too(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first stage never saw is not replayed in the second."""
    prepared: list[tuple[str, int]] = []
    prepare = tokens.prepare

    def told(config: Any, *arguments: Any, **options: Any) -> Any:
        found = prepare(config, *arguments, **options)
        prepared.append((Path(config.train[0].path).suffix, len(found.train) + len(found.validation)))
        return found

    monkeypatch.setattr(tokens, "prepare", told)
    lines = (material / "first.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "first.jsonl").write_text("\n".join([*lines[:10], *lines[:10]]), encoding="utf-8")
    first, second = ({"train": [{"path": str(path)}]} for path in (tmp_path / "first.jsonl", material / "second.jsonl"))
    asked = recipe(
        material,
        addons=[{"name": "replay", "share": 0.3, "data": "earlier"}],
        curate=["exact-dedup"],
        stages=[{"name": "one", "data": first}, {"name": "two", "data": second}],
    )
    go(asked, tmp_path / "run")
    assert {suffix for suffix, _ in prepared} == {".curated"}
    assert [count for _, count in prepared] == [10, 20, 10]


def test_backward_transfer_by_hand() -> None:
    """Accuracies after one (.8 on one) and after two (.5 on one, .9 on two): .5 - .8, the mean .7, the diagonal .85."""
    rows = {
        "base": {"one": {"accuracy": 0.1}, "two": {"accuracy": 0.2}},
        "one": {"one": {"accuracy": 0.8}, "two": {"accuracy": 0.3}},
        "two": {"one": {"accuracy": 0.5}, "two": {"accuracy": 0.9}},
    }
    found = summary(rows, ("one", "two"))
    assert found["backward_transfer"]["accuracy"] == pytest.approx(-0.3)
    assert found["average"]["accuracy"] == pytest.approx(0.7)
    assert found["own"]["accuracy"] == pytest.approx(0.85)
    assert found["after"] == rows


@pytest.mark.slow
def test_a_sequence_of_tasks_has_a_table(material: Path, tmp_path: Path) -> None:
    """The diagonal is what each stage was measured at itself; with an adapter a task nothing is moved."""
    stages = [
        {"name": name, "data": {"train": [{"path": str(material / f"{name}.jsonl")}]}} for name in ("first", "second")
    ]
    run = continual(recipe(material, stages=stages), out=tmp_path / "run", switch_proofs_off=True)
    table = run.summary()["transfer"]
    assert list(table["after"]) == ["base", "first", "second"]
    for number, name in enumerate(("first", "second")):
        measured = Run(run.stage_folder(number, name)).summary()["after"]["nll"]["value"]
        assert table["after"][name][name]["loss"] == pytest.approx(measured, rel=1e-5)
    moved = table["after"]["second"]["first"]["loss"] - table["after"]["first"]["first"]["loss"]
    assert table["backward_transfer"]["loss"] == pytest.approx(moved)
    with pytest.raises(UserError) as raised:
        continual(recipe(material), out=tmp_path / "none")
    assert raised.value.code == "no-stages"
