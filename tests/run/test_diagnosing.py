"""Diagnoses of real runs on a tiny base: of one that was made ill, with its rows, and of a healthy one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from made_runs import make_run
from tiny_base import make_base, make_rows
from tunesmith.events import Event
from tunesmith.recipe import Recipe
from tunesmith.run import train
from tunesmith.run.diagnosing import told_of, watching
from tunesmith.run.folder import Run

BAD_LINES = (12, 41)
ILL = ("rate-too-high", "rate-too-low", "collapse", "loss-spikes", "suspect-labels", "order-effects", "overfitting")


def found(run: Run) -> dict[str, dict[str, Any]]:
    told = json.loads((run.folder / "diagnosis.json").read_text())
    assert told == told_of(run)
    return {one["name"]: one for one in told["findings"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and rows of which two were garbled."""
    folder = tmp_path_factory.mktemp("diagnosed")
    make_base(folder / "base")
    make_rows(folder / "rows.jsonl", count=200)
    lines = (folder / "rows.jsonl").read_text().splitlines()
    for number in BAD_LINES:
        row = json.loads(lines[number - 1])
        row["messages"][1]["content"] = "ßþ§µ×ø" * 4
        lines[number - 1] = json.dumps(row)
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
def test_garbled_rows_are_named_with_their_line(folder: Path) -> None:
    run = make_run(folder, "garbled", method="full", steps=300, batch_size=4, learning_rate=2e-3, evaluate_every=50)
    suspects = found(run)["suspect-labels"]
    named = {int(one["text"].split(" line ")[1].split(" ")[0]) for one in suspects["evidence"]}
    assert named <= set(BAD_LINES)
    assert named
    assert "rate-too-high" not in found(run)


def test_a_rate_far_too_high_and_one_far_too_low(folder: Path) -> None:
    high = make_run(folder, "high", method="full", steps=40, learning_rate=3.0, clip=0.0, evaluate_every=10)
    assert found(high)["rate-too-high"]["severity"] == "bad"
    assert any("of their size" in one["text"] for one in found(high)["rate-too-high"]["evidence"])
    low = make_run(folder, "low", steps=40, learning_rate=1e-7, evaluate_every=10)
    assert set(found(low)) & set(ILL) == {"rate-too-low"}


def test_a_healthy_run_is_called_so_by_its_curves(tmp_path: Path) -> None:
    run = make_run(tmp_path, "good", method="full", steps=60, learning_rate=1e-3, evaluate_every=10)
    assert set(found(run)) & {"rate-too-high", "rate-too-low", "loss-spikes", "order-effects", "overfitting"} == set()


def test_what_curves_tell_is_said_once_while_training(folder: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    heard: list[Event] = []

    def record(event: Event) -> None:
        heard.append(event)
        with events.open("a") as file:
            file.write(json.dumps({"kind": event.kind, "step": event.step, **event.values}) + "\n")

    done = make_run(folder, "short", steps=4)
    (tmp_path / "recipe.yaml").write_text((done.folder / "recipe.yaml").read_text())
    emit = watching(record, Run(tmp_path))
    for step in range(1, 61):
        emit(Event("step", step, {"loss": 1.0 if step < 20 else 9.0, "norm": 1.0}))
        if step % 10 == 0:
            emit(Event("evaluation", step, {"validation_loss": 1.0 if step < 20 else 9.0}))
    notes = [event for event in heard if event.kind == "note"]
    assert len(notes) == 1
    assert notes[0].step <= 40
    assert notes[0].values["text"].startswith("rate-too-high: The training loss rose")


@pytest.mark.parametrize("shuffle", [False, True], ids=["one source after the other", "mixed"])
def test_the_order_of_sources_and_what_it_does(shuffle: bool, tmp_path: Path) -> None:
    """Two sources that answer the same questions otherwise: in turn they unlearn each other, mixed they do not."""
    make_base(tmp_path / "base")
    files = [str(tmp_path / f"{name}.jsonl") for name in ("first", "second")]
    for name, words in (("first", "It is sunny and warm."), ("second", "No rain.")):
        rows = [{"prompt": f"How is day {n}?", "completion": words} for n in range(80)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe(
        seed=3,
        model={"base": str(tmp_path / "base"), "dtype": "float32"},
        data={"train": files, "validation": 0, "workers": 1, "max_tokens": 128},
        method="full",
        train={"batch_size": 8, "epochs": 3, "learning_rate": 3e-3, "shuffle": shuffle, "schedule": "constant"},
        evaluate={"prompts": 0, "before": False},
        retention="none",
    )
    diagnosed = found(train(recipe, out=tmp_path / "run", switch_proofs_off=True))
    assert ("order-effects" in diagnosed) is not shuffle
    if not shuffle:
        told = diagnosed["order-effects"]
        assert "train.shuffle to true" in told["advice"]
        assert any("the training loss on second was" in one["text"] for one in told["evidence"])
