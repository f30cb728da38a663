"""``sweep``: a table and a page of trials, the best one by name, and refusals in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from said import Tunesmith
from small_model import write_model

from tunesmith.run.sweep_page import sweep_page


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_recipe(folder: Path) -> None:
    write_model(folder / "base")
    rows = [{"prompt": f"Say {number}", "completion": f"It is {number}."} for number in range(30)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "name": "small",
        "model": {"base": "base", "dtype": "float32"},
        "data": {"train": ["rows.jsonl"], "max_tokens": 64, "workers": 1},
        "train": {"steps": 4, "batch_size": 4, "evaluate_every": 2},
        "evaluate": {"prompts": 0, "before": False},
        "retention": "none",
        "proofs": "off",
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))


def test_a_sweep_from_the_command_line(call: Tunesmith, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    command = ("sweep", "recipe.yaml", "--over", "method.rank=2,4", "--over", "train.learning_rate=1e-3,1e30")
    first = call(*command, "--halving", "0", "--json")
    assert first.code == 0, first.err
    found = first.json
    assert {row["state"] for row in found["trials"]} == {"finished", "failed"}
    assert found["best"]["values"]["train.learning_rate"] == 1e-3
    assert Path("sweeps/small/best/adapter").is_dir()
    assert json.loads(Path("sweeps/small/sweep.json").read_text())["best"] == found["best"]
    page = Path("sweeps/small/sweep.html").read_text()
    assert found["picture"] == "sweeps/small/sweep.html"
    assert "<script" not in page
    assert page.count("<tr>") == 5
    again = call(*command, "--halving", "0")
    assert again.code == 0
    lines = again.out.splitlines()
    assert lines[0].split() == ["trial", "rank", "learning_rate", "validation_loss", "updates", "state"]
    assert [line.split()[-1] for line in lines[1:]] == ["finished", "finished", "failed", "failed"]
    assert "tunesmith report sweeps/small/best" in again.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--over", "method.rnk=2,4"), "rank"),
        (("--over", "method.rank=4:2"), "a number to a larger one"),
        ((), "nothing is swept"),
        (("data.validation=0.0", "--over", "method.rank=2,4"), "there are none"),
    ],
)
def test_mistakes_are_told_at_once(call: Tunesmith, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    write_recipe(tmp_path)
    found = call("sweep", "recipe.yaml", *words)
    assert found.code == 2
    assert said in found.err
    assert not Path("sweeps").exists()


def test_a_page_without_finished_trials_of_numbers() -> None:
    row = {"number": 0, "run": "r", "values": {"method.targets": "mlp"}, "state": "finished", "value": 1.0}
    row |= {"updates": 4, "of": 4, "seconds": 1.0, "curve": [[2, 2.0], [4, 1.0]], "why": ""}
    result = {"metric": "validation_loss", "higher_is_better": False, "best": row, "trials": [row]}
    assert "No option that is a number was swept" in sweep_page(result)
