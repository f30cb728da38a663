"""The model card says what the run's files say, and names no folder of the machine it was made on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from made_runs import make_run
from tunesmith.cli.main import main
from tunesmith.report.card import card
from tunesmith.report.forms import FORMS
from tunesmith.report.run_facts import RunFacts
from tunesmith.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("cards"), "carded")


def test_it_holds_the_figures_of_the_run(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "card", str(run.folder), "--json"]) == 0
    path = Path(json.loads(capsys.readouterr().out)["card"])
    text = path.read_text()
    report = run.summary()
    found = report["changes"]["task"]["nll"]
    line = next(line for line in text.splitlines() if line.startswith("| loss (nats a token)"))
    for value in (found["before"]["value"], found["after"]["value"]):
        assert f" {FORMS['plain'](value)} " in line
    assert FORMS["signed"](found["change"]["low"]) in line
    assert "**DO NOT SHIP**" in text
    assert "missed: validation_loss" in text
    ledger = run.read("ledger.json")
    assert f"{ledger['sequences']['train']:,} sequences with {ledger['tokens']['train']:,} tokens" in text
    assert f"{ledger['sequences']['validation']:,} sequences were held out" in text
    front = YAML(typ="safe").load(text.split("---")[1])
    assert front == {"library_name": "peft", "tags": ["tunesmith", "lora", "sft"]}
    assert str(run.folder.parent) not in text
    assert re.search(r"/tmp|/home|/root", text) is None


def test_it_tells_proofs_that_held_and_what_holds_the_weights(run: Run, tmp_path: Path) -> None:
    other = shutil.copytree(run.folder, tmp_path / "other", ignore=shutil.ignore_patterns("checkpoints", "adapter"))
    (other / "model").mkdir()
    proofs = [{"name": name, "passed": passed} for name, passed in (("a", True), ("b", None), ("c", False))]
    (other / "proof.json").write_text(json.dumps({"proofs": proofs}))
    text = card(RunFacts.read(other))
    assert "1 of 3 proofs" in text
    assert YAML(typ="safe").load(text.split("---")[1])["library_name"] == "transformers"
    assert "AutoModelForCausalLM" in text


def test_an_unfinished_run_has_no_card(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(run.folder / "recipe.yaml", tmp_path / "recipe.yaml")
    assert main(["export", "card", str(tmp_path)]) == 2
    assert "not finished" in capsys.readouterr().err
