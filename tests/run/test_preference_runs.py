"""Whole runs on rated answers: learned from chance, proven, resumed bit for bit; and rows that teach nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from running import StopAt, curve, go, result

from tiny_base import make_base
from tunesmith.engine.sinks.jsonl import read
from tunesmith.errors import UserError
from tunesmith.recipe import Recipe
from tunesmith.run import train

LORA = {"name": "lora", "rank": 4, "alpha": 8}


def pair(at: int) -> dict[str, Any]:
    """The better answer names the river, whatever the question."""
    words = " ".join(["very"] * (at % 5))
    return {
        "question": f"What is {words} {at}?",
        "chosen": f"The river is {at % 3}.",
        "rejected": f"No idea about {at % 4}, sorry.",
    }


def unpaired(at: int) -> dict[str, Any]:
    row = pair(at)
    return {"question": row["question"], "completion": row["chosen" if at % 2 else "rejected"], "label": bool(at % 2)}


def stepped(at: int) -> dict[str, Any]:
    good = at % 2 == 0
    return {
        "question": f"Add {at}.",
        "steps": ["The river is 1.", "No idea." if not good else "So 2."],
        "labels": [1, good],
    }


ROWS = {"reward": pair, "kto": unpaired, "steps": stepped}


def write(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def recipe(folder: Path, objective: Any, *, method: Any = LORA, rows: Any = None, **options: Any) -> Recipe:
    name = objective if isinstance(objective, str) else "steps" if objective.get("steps") else objective["name"]
    made = rows if rows is not None else [ROWS.get(name, pair)(at) for at in range(60)]
    steps = {"steps": 10, "batch_size": 8, "learning_rate": 1e-2, "evaluate_every": 10, "early_stopping": None}
    return Recipe(
        seed=2,
        model={"base": str(make_base(folder / "base")), "dtype": "float32", "threads": 1},
        data={"train": [{"path": write(folder, made)}], "max_tokens": 128, "validation": 0.2, "workers": 1},
        method=method,
        objective=objective,
        train={**steps, **options},
        evaluate={"prompts": 0, "before": True},
        retention="none",
    )


def measured(run: Path, when: str) -> dict[str, float]:
    task = json.loads((run / "eval" / f"{when}.json").read_text())["task"]
    return {name: value["value"] for name, value in task.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    ["dpo", "simpo", "cpo", "orpo", "reward", {"name": "dpo", "losses": {"ipo": 1.0, "sft": 0.1}}],
    ids=str,
)
def test_a_preference_is_learned_from_chance(objective: Any, tmp_path: Path) -> None:
    """Proven as users run it; rows held out are told apart afterwards, and without a reference before by chance."""
    run = train(recipe(tmp_path, objective), out=tmp_path / "run").folder
    after = measured(run, "after")
    assert after["accuracy"] >= 0.9
    assert after["margin"] > 0
    if objective == "dpo":
        before = measured(run, "before")
        assert (before["accuracy"], before["margin"]) == (0.5, 0.0)
        assert before["loss"] == pytest.approx(0.6931472, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", [LORA, "full"], ids=str)
def test_single_answers_are_learned(method: Any, tmp_path: Path) -> None:
    rate = 1e-2 if method == LORA else 1e-3
    run = train(recipe(tmp_path, "kto", method=method, learning_rate=rate, steps=14), out=tmp_path / "run").folder
    after = measured(run, "after")
    assert after["wanted_reward"] > after["unwanted_reward"]
    assert after["accuracy"] > 0.8


@pytest.mark.slow
def test_steps_are_learned(tmp_path: Path) -> None:
    run = train(recipe(tmp_path, {"name": "reward", "steps": True}, steps=20), out=tmp_path / "run").folder
    assert measured(run, "after")["accuracy"] >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("method", [LORA, "full"], ids=str)
@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_a_stopped_run_goes_on_bit_for_bit(objective: str, method: Any, tmp_path: Path) -> None:
    """The reference of a resumed run is the model as training began, not as it was found."""
    made = recipe(tmp_path, objective, method=method, learning_rate=1e-3, steps=6, evaluate_every=100)
    whole = go(made, tmp_path / "whole").folder
    go(made, tmp_path / "stopped", sinks=(StopAt(3),))
    resumed = go(made, tmp_path / "stopped", resume=True).folder
    assert curve(whole) == curve(resumed)
    ours, theirs = result(whole), result(resumed)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_sft_then_dpo_starts_at_what_sft_made(tmp_path: Path) -> None:
    """The second stage's margin is 0 at its start: its reference is the model after the first."""
    stages = [
        {"name": "imitate", "objective": {"name": "sft"}},
        {"name": "prefer", "objective": {"name": "dpo"}, "train": {"learning_rate": 5e-3}},
    ]
    whole = recipe(tmp_path, "sft").model_copy(update={"objective": Recipe().objective})
    made = Recipe(**{**whole.model_dump(), "stages": stages})
    run = train(made, out=tmp_path / "run").folder
    (prefer,) = run.glob("stages/*-prefer")
    first = next(event for event in read(prefer / "events.jsonl") if event["kind"] == "step")
    assert first["loss"] == pytest.approx(0.6931472, abs=1e-6)
    assert first["terms"]["margin"] == pytest.approx(0.0, abs=1e-5)
    assert measured(prefer, "after")["accuracy"] >= 0.9


@pytest.mark.parametrize(
    ("objective", "rows", "code", "words"),
    [
        ("dpo", [{**pair(at), "rejected": pair(at)["chosen"]} for at in range(9)], "no-rows-left", "same answer"),
        ("reward", [{**pair(at), "rejected": " "} for at in range(9)], "no-rows-left", "'rejected' is empty"),
        ("dpo", [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}]}] * 9,
         "no-rows-left", "no rated answer"),
        ("kto", [{**unpaired(at), "label": True} for at in range(9)], "one-class", "all answers are wanted"),
        ("kto", [pair(at) for at in range(9)], "no-rows-left", "`tunesmith formats unpaired`"),
        ("dpo", [pair(at) if at % 2 else {**pair(at), "chosen": pair(at)["rejected"]} for at in range(8)],
         "too-many-lost", "4 of 8 rows"),
    ],
    ids=["chosen = rejected", "empty answer", "no pairs", "one class", "pairs for kto", "half of them equal"],
)  # fmt: skip
def test_rows_that_teach_nothing_end_in_one_sentence(
    objective: str, rows: list[dict[str, Any]], code: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        train(recipe(tmp_path, objective, rows=rows), out=tmp_path / "run")
    assert caught.value.code == code
    assert words in caught.value.sentence() + str(caught.value)
    assert not (tmp_path / "run" / "adapter").exists()
