"""Whole runs of task objectives on tiny bases: learned, proven, predicted, merged, read by transformers and PEFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tiny_base import make_base
from tiny_task import make_bert
from tunesmith.errors import UserError
from tunesmith.recipe import Recipe
from tunesmith.run import Run, check, evaluate, train
from tunesmith.run.comparing import compare
from tunesmith.run.predict import predict
from tunesmith.run.use import merge

COLOURS = ("red", "blue")


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def text(number: int) -> str:
    return f"the {COLOURS[number % 2]} cat and number {number} very {'very ' * (number % 3)}dog"


def rows_of(name: str) -> list[dict[str, Any]]:
    made = {
        "classify": lambda at: {"text": text(at), "label": COLOURS[at % 2]},
        "several": lambda at: {"text": text(at), "labels": [COLOURS[at % 2]] * (at % 5 > 0)},
        "regress": lambda at: {"text": text(at), "label": 1.0 - 2 * (at % 2)},
        "tokens": lambda at: {
            "tokens": text(at).split(),
            "tags": ["C" if w in COLOURS else "O" for w in text(at).split()],
        },
        "span": lambda at: {
            "question": "which colour ?",
            "context": text(at),
            "answers": [{"text": COLOURS[at % 2], "answer_start": 4}],
        },
    }
    return [made[name](at) for at in range(80)]


def recipe(base: Path, data: str, objective: dict[str, Any], method: Any = "full", **options: Any) -> Recipe:
    steps = {"steps": 12, "batch_size": 16, "learning_rate": 3e-3, "evaluate_every": 6, "early_stopping": None}
    return Recipe(
        seed=1,
        model={"base": str(base), "dtype": "float32", "threads": 1},
        data={"train": [{"path": data}], "max_tokens": 64, "validation": 0.2, "workers": 1},
        objective=objective,
        method=method,
        train={**steps, **options},
    )


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {"bert": make_bert(folder / "bert"), "llama": make_base(folder / "llama")}


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("name", ["classify", "several", "regress", "tokens", "span"])
def test_a_run_learns_is_proven_and_predicts(bases: dict[str, Path], tmp_path: Path, name: str, family: str) -> None:
    objective = {"name": "classify" if name == "several" else name}
    data = write(tmp_path / "rows.jsonl", rows_of(name))
    run = train(recipe(bases[family], data, objective, steps=30, learning_rate=2e-3), out=tmp_path / "run")
    proofs = {one["name"]: one["passed"] for one in run.read("proof.json")["proofs"]}
    ran = {"targets", "packing", "save-load", "isolation", "gradients", "micro-batches", "resume"}
    assert ran <= {one for one, passed in proofs.items() if passed}
    report = run.summary()
    assert report["after"]["loss"]["value"] < report["before"]["loss"]["value"]
    assert report["changes"]["task"]["loss"]["verdict"] == "better"
    assert evaluate(run)["metrics"] == report["after"]
    asked: list[Any] = [("which colour ?", text(4))] if name == "span" else [text(4), text(5)]
    found = predict(run, asked)
    told = {"classify": "label", "several": "labels", "regress": "value", "tokens": "words", "span": "answer"}[name]
    assert all(told in one for one in found)
    result = merge(run, tmp_path / "merged")
    assert result["saved_difference"] <= result["saved_bound"]


@pytest.fixture(scope="module")
def lora(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """LoRA on the body of a BERT, far enough to be right."""
    folder = tmp_path_factory.mktemp("lora")
    data = write(folder / "rows.jsonl", rows_of("classify"))
    asked = recipe(bases["bert"], data, {"name": "classify"}, {"name": "lora", "rank": 4}, steps=60, learning_rate=1e-2)
    return train(asked, out=folder / "run", switch_proofs_off=True)


def test_label_names_are_kept_everywhere(lora: Run, tmp_path: Path) -> None:
    assert lora.recipe.objective.fields["labels"] == ["blue", "red"]
    (one, two) = predict(lora, [text(4), text(5)])
    assert (one["label"], two["label"]) == ("red", "blue")
    assert one["probability"] == max(one["probabilities"].values())
    merge(lora, tmp_path / "merged")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert model.config.id2label == {0: "blue", 1: "red"}
    batch = tokenizer([text(4), text(5)], padding=True, return_tensors="pt")
    probabilities = torch.softmax(model(**batch).logits, dim=-1)
    assert probabilities[0, 1].item() == pytest.approx(one["probabilities"]["red"], abs=1e-5)
    assert probabilities[1, 0].item() == pytest.approx(two["probabilities"]["blue"], abs=1e-5)


def test_peft_reads_the_adapter_with_its_head(lora: Run, bases: dict[str, Path]) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = AutoModelForSequenceClassification.from_pretrained(bases["bert"], num_labels=2)
    model = peft.PeftModel.from_pretrained(base, lora.artifact).eval()
    batch = AutoTokenizer.from_pretrained(bases["bert"])([text(4)], return_tensors="pt")
    (wanted,) = predict(lora, [text(4)])
    with torch.no_grad():
        found = torch.softmax(model(**batch).logits, dim=-1)[0]
    assert found.tolist() == pytest.approx([wanted["probabilities"][name] for name in ("blue", "red")], abs=1e-5)


def test_a_suite_measures_labels(lora: Run, tmp_path: Path) -> None:
    rows = rows_of("classify")
    tasks = [
        {"name": "colours", "rows": rows, "metric": "accuracy", "threshold": 0.9},
        {"name": "sure", "rows": rows, "metric": "calibration_error", "threshold": 0.0},
    ]
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"tasks": tasks}))
    found = evaluate(lora, suite=tmp_path / "suite.yaml")
    assert found["metrics"]["colours"]["value"] == 1.0
    assert (found["metrics"]["colours"]["n"], found["failed"]) == (80, ["sure"])
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"tasks": [{**tasks[0], "metric": "pearson"}]}))
    with pytest.raises(UserError) as caught:
        evaluate(lora, suite=tmp_path / "suite.yaml")
    assert caught.value.code == "unknown-metric"


def test_a_classifier_does_not_talk(lora: Run) -> None:
    from tunesmith.run import chat

    for ask in (lambda: chat(lora), lambda: lora.model.generate("hello")):
        with pytest.raises(UserError) as caught:
            ask()
        assert caught.value.code == "writes-no-text"
    assert lora.model.predict([text(4)])[0]["label"] == "red"


def test_runs_are_compared_by_their_labels(lora: Run, bases: dict[str, Path], tmp_path: Path) -> None:
    data = write(tmp_path / "rows.jsonl", rows_of("classify"))
    other = train(
        recipe(bases["bert"], data, {"name": "classify"}, steps=2), out=tmp_path / "run", switch_proofs_off=True
    )
    found = compare([other.folder, lora.folder])
    assert found["same_rows"]
    (changes,) = found["differences"].values()
    assert changes["task accuracy"]["value"] > 0


def test_a_watched_accuracy_keeps_the_best(bases: dict[str, Path], tmp_path: Path) -> None:
    """The best checkpoint is the one with the highest accuracy, and what is reported as loss is a loss."""
    data = write(tmp_path / "rows.jsonl", rows_of("classify"))
    watch = {"metric": "validation_accuracy", "patience": 2}
    asked = recipe(bases["bert"], data, {"name": "classify"}, steps=24, evaluate_every=3, early_stopping=watch)
    run = train(asked, out=tmp_path / "run", switch_proofs_off=True)
    seen = [json.loads(line) for line in run.events.read_text().splitlines()]
    shown = {one["step"]: one["validation_accuracy"] for one in seen if one["kind"] == "evaluation"}
    best = max(shown.values())
    assert run.summary()["best_step"] == min(step for step, value in shown.items() if value == best)
    assert run.summary()["after"]["accuracy"]["value"] == pytest.approx(best)
    losses = {one["step"]: one["validation_loss"] for one in seen if one["kind"] == "evaluation"}
    assert run.summary()["validation_loss"] in losses.values()


@pytest.mark.parametrize(
    ("rows", "options", "code"),
    [
        ([{"text": text(at), "label": "a"} for at in range(20)], {}, "one-class"),
        (rows_of("classify"), {"data": {"overlong": "split"}}, "cannot-combine"),
        (rows_of("classify"), {"train": {"early_stopping": {"metric": "validation_perplexity"}}}, "unknown-metric"),
        (rows_of("classify"), {"objective": {"labels": ["red", "green"], "multi_label": False}}, "unknown-label"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    bases: dict[str, Path], tmp_path: Path, rows: list[dict[str, Any]], options: dict[str, Any], code: str
) -> None:
    asked = recipe(
        bases["bert"], write(tmp_path / "rows.jsonl", rows), {"name": "classify", **options.get("objective", {})}
    )
    values = asked.model_dump()
    for section in ("data", "train"):
        values[section] |= options.get(section, {})
    with pytest.raises(UserError) as caught:
        train(Recipe(**values), out=tmp_path / "run")
    assert caught.value.code == code


def test_a_resumed_run_is_the_same(bases: dict[str, Path], tmp_path: Path) -> None:
    """The head is drawn from the recipe's seed, so two runs of one recipe are bit-identical."""
    data = write(tmp_path / "rows.jsonl", rows_of("classify"))
    runs = [
        train(recipe(bases["bert"], data, {"name": "classify"}, steps=4), out=tmp_path / name, switch_proofs_off=True)
        for name in ("one", "two")
    ]
    from safetensors.torch import load_file

    one, two = (load_file(run.artifact / "model.safetensors") for run in runs)
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_head_that_mixes_texts_is_caught(bases: dict[str, Path], tmp_path: Path, family: str) -> None:
    """A head that leaks from one text into the next fails what speaks of packing, isolation and micro-batches."""
    from tunesmith.models import task_head

    data = write(tmp_path / "rows.jsonl", rows_of("classify"))
    asked = recipe(bases[family], data, {"name": "classify"})
    assert all(one.passed for one in check(asked))
    honest = task_head.TaskView.scores

    def leaking(self: Any, hidden: torch.Tensor) -> torch.Tensor:
        return honest(self, hidden + 0.1 * hidden.mean(dim=0, keepdim=True) * (len(hidden) > 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_head.TaskView, "scores", leaking)
        failed = {one.name for one in check(asked) if one.passed is False}
    assert {"packing", "isolation", "micro-batches"} <= failed


def test_the_command_predicts_texts_and_files(lora: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tunesmith.cli.main import main

    file = tmp_path / "texts.txt"
    file.write_text(f"{text(5)}\n{text(4)}\n")
    assert main(["predict", str(lora.folder), text(4), "--file", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert [one["label"] for one in found] == ["red", "blue", "red"]
    assert main(["predict", str(lora.folder), text(4)]) == 0
    assert "red" in capsys.readouterr().out
    assert main(["predict", str(lora.folder)]) == 2
