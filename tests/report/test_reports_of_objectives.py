"""Pages about runs of other objectives: every number traced, nothing called worse that has no better."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tracing import Folder, read, wrong

from browser import opened
from tiny_base import make_base
from tiny_task import make_bert
from tunesmith.cli.main import main
from tunesmith.recipe import Recipe
from tunesmith.run import Run, train
from tunesmith.run.reporting import write_report

COLOURS = ("red", "blue")


def text(number: int) -> str:
    return f"the {COLOURS[number % 2]} cat and number {number} very dog"


def pair(number: int) -> dict[str, Any]:
    return {"prompt": f"what colour is number {number}", "chosen": f"it is {COLOURS[number % 2]}", "rejected": "it is"}


KINDS: dict[str, tuple[str, Callable[[int], dict[str, Any]], dict[str, Any]]] = {
    "classify": ("bert", lambda at: {"text": text(at), "label": COLOURS[at % 2]}, {}),
    "regress": ("bert", lambda at: {"text": text(at), "label": float(at % 3)}, {}),
    "embed": ("bert", lambda at: {"anchor": text(at), "positive": text(at + 2)}, {}),
    "dpo": ("llama", pair, {}),
    "reward": ("llama", pair, {}),
    "grpo": (
        "llama",
        lambda at: {"prompt": text(at), "completion": "so"},
        # characters, because six drawn tokens rarely end early: their number would be the same for every answer
        {
            "rewards": [{"name": "length", "at_most": 6, "slack": 80, "unit": "characters"}],
            "answers": 2,
            "max_new_tokens": 6,
        },
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    folder = tmp_path_factory.mktemp("objectives")
    bases = {"bert": make_bert(folder / "bert"), "llama": make_base(folder / "llama")}
    known: dict[str, Run] = {}

    def run(name: str) -> Run:
        if name not in known:
            family, row, options = KINDS[name]
            rows = folder / f"{name}.jsonl"
            rows.write_text("".join(json.dumps(row(at)) + "\n" for at in range(40)))
            recipe = Recipe(
                name=name,
                seed=1,
                model={"base": str(bases[family]), "dtype": "float32", "threads": 1},
                data={"train": [{"path": str(rows)}], "max_tokens": 96, "validation": 0.3, "workers": 1},
                objective={"name": name, **options},
                method={"name": "lora", "rank": 2},
                train={"steps": 4, "batch_size": 4, "learning_rate": 1e-2, "evaluate_every": 2, "early_stopping": None},
                evaluate={"prompts": 0},
            )
            known[name] = train(recipe, out=folder / name, switch_proofs_off=True)
        return known[name]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_number_of_the_page_stands_in_a_file(made: Callable[[str], Run], name: str) -> None:
    folder = made(name).folder
    page = write_report([folder])
    reader = read(page.read_text())
    assert wrong(reader, Folder({"": folder})) == []
    assert reader.loose == []
    assert len(reader.numbers) > 40
    said = re.sub(r"<[^>]+>", "", page.read_text())
    for part in ("What it gained", "How it went", "What it was trained on", "How to make it again"):
        assert part in said
    with opened(page) as shown:
        assert (shown.requests, shown.console, shown.overflowing()) == ([], [], 0)


@pytest.mark.slow
def test_what_has_no_better_is_neither_better_nor_worse(made: Callable[[str], Run]) -> None:
    for name, undirected in (("dpo", {"length_margin", "length_bias"}), ("reward", {"length_margin", "reward"})):
        task = made(name).summary()["changes"]["task"]
        assert {one: task[one]["higher_is_better"] for one in undirected} == dict.fromkeys(undirected)
        assert not {task[one]["verdict"] for one in undirected} & {"better", "worse"}
    assert made("dpo").summary()["changes"]["task"]["rejected_logprob"]["higher_is_better"] is False


@pytest.mark.slow
def test_a_task_head_is_not_asked_for_text(made: Callable[[str], Run], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(made("classify").folder), "--suite", "tunesmith:safety"]) == 2
    assert "writes none" in capsys.readouterr().err
    assert main(["predict", str(made("reward").folder), "hello"]) == 2
    assert "no labels to predict" in capsys.readouterr().err


@pytest.mark.slow
def test_a_damaged_file_is_told(made: Callable[[str], Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = tmp_path / "half"
    half.mkdir()
    (half / "recipe.yaml").write_text((made("classify").folder / "recipe.yaml").read_text())
    (half / "report.json").write_text('{"fin')
    assert main(["report", str(half)]) == 2
    assert "is damaged" in capsys.readouterr().err
