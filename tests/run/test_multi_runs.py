"""Whole runs of several tasks on one body: two files with labels of their own, learned, judged, predicted, merged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_base import make_base
from tiny_task import make_bert
from tunesmith.cli.main import main
from tunesmith.recipe import Recipe
from tunesmith.run import Run, evaluate, train
from tunesmith.run.comparing import compare
from tunesmith.run.predict import predict
from tunesmith.run.use import merge

COLOURS = ("red", "blue")


def text(number: int) -> str:
    return f"the {COLOURS[number % 2]} cat and number {number} very {'very ' * (number % 3)}dog"


def files(folder: Path) -> list[dict[str, Any]]:
    """Colours in one file, under `label`; in the other how much of it there is, and now and then the colour too."""
    one = [{"text": text(at), "label": COLOURS[at % 2]} for at in range(60)]
    two = [{"text": text(at), "much": 100.0 + 50.0 * (at % 3)} for at in range(60, 120)]
    two = [{**row, "colour": COLOURS[at % 2]} if at % 4 == 0 else row for at, row in enumerate(two, start=60)]
    for name, rows in (("colours", one), ("amounts", two)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        {"path": str(folder / "colours.jsonl"), "columns": {"colour": "label"}},
        {"path": str(folder / "amounts.jsonl")},
    ]


def recipe(base: Path, folder: Path, **changes: Any) -> Recipe:
    values = {
        "seed": 1,
        "model": {"base": str(base), "dtype": "float32", "threads": 1},
        "data": {"train": files(folder), "max_tokens": 64, "validation": 0.2, "workers": 1},
        "objective": {
            "name": "multi",
            "tasks": {"colour": "classify", "much": {"kind": "regress", "standardise": True, "weight": 0.5}},
        },
        "method": "full",
        "train": {
            "steps": 120,
            "batch_size": 16,
            "learning_rate": 3e-3,
            "warmup": 0.1,
            "evaluate_every": 30,
            "early_stopping": {"metric": "validation_much/pearson", "patience": 9},
        },
    }
    return Recipe(**(values | changes))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("multi")
    return train(recipe(make_bert(folder / "bert"), folder), out=folder / "run")


def test_every_task_is_learned_proven_and_judged(run: Run, tmp_path: Path) -> None:
    assert run.proven
    report = run.summary()
    after, changes = report["after"], report["changes"]["task"]
    assert {"loss", "colour/accuracy", "colour/macro_f1", "much/pearson", "much/squared_error"} <= set(after)
    assert after["colour/accuracy"]["value"] == 1.0
    assert changes["loss"]["verdict"] == changes["much/squared_error"]["verdict"] == "better"
    assert after["colour/loss"]["n"] + after["much/loss"]["n"] > after["loss"]["n"]
    assert after["loss"]["value"] == pytest.approx(after["colour/loss"]["value"] + 0.5 * after["much/loss"]["value"])
    assert evaluate(run)["metrics"] == after
    again = shutil.copytree(run.folder, tmp_path / "again")
    assert compare([run.folder, again])["same_rows"]


def test_all_tasks_are_predicted_in_their_own_units(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (one, two) = predict(run, [text(64), text(65)])
    assert (one["tasks"]["colour"]["label"], two["tasks"]["colour"]["label"]) == ("red", "blue")
    assert one["tasks"]["much"]["value"] == pytest.approx(150, abs=30)
    assert two["tasks"]["much"]["value"] == pytest.approx(200, abs=30)
    assert main(["predict", str(run.folder), text(64)]) == 0
    told = capsys.readouterr().out
    assert "colour: red (" in told
    assert "; much: 1" in told


def test_a_suite_asks_for_one_task(run: Run, tmp_path: Path) -> None:
    rows = [{"text": text(at), "colour": COLOURS[at % 2]} for at in range(8)]
    suite = tmp_path / "suite.yaml"
    suite.write_text(json.dumps({"tasks": [{"name": "colours", "rows": rows, "metric": "colour/accuracy"}]}))
    assert evaluate(run, suite=suite)["metrics"]["colours"]["value"] == 1.0


def test_the_merged_model_is_one_of_transformers(run: Run, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    merge(run, tmp_path / "merged")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert model.config.id2label == {0: "colour: blue", 1: "colour: red", 2: "much: value"}
    batch = AutoTokenizer.from_pretrained(tmp_path / "merged")([text(64)], return_tensors="pt")
    scores = model(**batch).logits[0]
    (one,) = predict(run, [text(64)])
    own = one["tasks"]["colour"]["probabilities"]["red"]
    assert torch.softmax(scores[:2], dim=-1)[1].item() == pytest.approx(own, abs=1e-5)
    scale = run.recipe.objective.fields["tasks"]["much"]["standardise"]
    said = scale["mean"] + scale["deviation"] * scores[2].item()
    assert one["tasks"]["much"]["value"] == pytest.approx(said, abs=1e-3)


def test_the_labels_are_shown_beside_the_tokens(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", str(run.folder / "recipe.yaml"), "-n", "80", "--json"]) == 0
    labels = {one["labels"] for one in json.loads(capsys.readouterr().out)["sequences"]}
    assert {"colour: red", "colour: blue", "much: 150", "much: 200"} <= labels
    assert any(one.startswith("colour: ") and "; much: " in one for one in labels)
    assert main(["data", "show", str(run.folder / "recipe.yaml"), "-n", "1"]) == 0
    assert " tokens, 1 read; " in capsys.readouterr().out


@pytest.mark.slow
def test_an_adapter_on_a_decoder_keeps_all_heads(tmp_path: Path) -> None:
    base = make_base(tmp_path / "llama")
    asked = recipe(base, tmp_path, method={"name": "lora", "rank": 4}, seed=2)
    run = train(asked, out=tmp_path / "run")
    assert run.proven
    assert run.artifact.name == "adapter"
    assert run.summary()["changes"]["task"]["loss"]["verdict"] == "better"
    assert evaluate(run)["metrics"] == run.summary()["after"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classify", "regress"])
def test_one_task_alone_is_its_own_objective(tmp_path: Path, name: str) -> None:
    """The same updates, bit by bit, and the same metrics, whichever of the two asks for them."""
    base = make_bert(tmp_path / "bert")
    label = {"classify": lambda at: COLOURS[at % 2], "regress": lambda at: at % 3}[name]
    rows = [{"text": text(at), "label": label(at)} for at in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": [{"path": str(tmp_path / "rows.jsonl")}], "max_tokens": 64, "validation": 0.2, "workers": 1}
    training = {"steps": 6, "batch_size": 8, "evaluate_every": 6, "early_stopping": None}
    asked = {"alone": {"name": name}, "multi": {"name": "multi", "tasks": {"one": {"kind": name, "column": "label"}}}}
    curves, marks = {}, {}
    for key, objective in asked.items():
        chosen = recipe(base, tmp_path, data=data, objective=objective, train=training)
        run = train(chosen, out=tmp_path / key, switch_proofs_off=True)
        events = map(json.loads, run.events.read_text().splitlines())
        curves[key] = [event["loss"] for event in events if event["kind"] == "step"]
        marks[key] = {metric.removeprefix("one/"): one for metric, one in run.summary()["after"].items()}
    assert curves["alone"] == curves["multi"]
    assert marks["alone"] == marks["multi"]
