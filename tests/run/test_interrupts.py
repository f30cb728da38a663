"""Ctrl-C outside the updates: one sentence says what is kept, names the command that goes on, and that command does."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from running import LORA, Material, curve, go

from tunesmith.cli.main import main
from tunesmith.errors import Interrupted
from tunesmith.files import write_text
from tunesmith.recipe.load import dump
from tunesmith.run import Run, training

STEPS = 4


@dataclass(frozen=True)
class Said:
    """What ``tunesmith train`` answered, and the words of the command that it says goes on."""

    code: int
    err: str
    out: str

    @property
    def next(self) -> list[str]:
        """The arguments after ``tunesmith``."""
        (line,) = [line for line in self.err.splitlines() if "Go on with: tunesmith " in line]
        return shlex.split(line.partition("Go on with: tunesmith ")[2])


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


def recipe_file(material: Material, folder: Path, *, method: Any = "full", **options: Any) -> Path:
    """A recipe that measures the base, as the material's does not."""
    recipe = material.recipe(method=method, steps=STEPS, **options)
    recipe = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"before": True})})
    write_text(folder / "recipe.yaml", dump(recipe))
    return folder / "recipe.yaml"


@pytest.fixture
def train(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Run a command line in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    recipe_file(material, tmp_path)

    def run(*words: str) -> Said:
        code = main(list(words))
        said = capsys.readouterr()
        return Said(code, said.err, said.out)

    return run


FIRST = ("train", "recipe.yaml", "--out", "run", "--no-proofs")


def pressed(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_during_the_start(train: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to resume yet: the command is the first one again."""
    with monkeypatch.context() as patch:
        patch.setattr(training, "prepare_with", pressed)
        said = train(*FIRST)
    assert said.code == 130
    assert "Stopped during the start. No update was saved yet" in said.err
    assert "--resume" not in said.next
    assert train(*said.next).code == 0


def test_during_the_proofs(train: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith.proof import prove

    real = prove.run

    def at_mask(name: str, *rest: Any) -> Any:
        return pressed() if name == "mask" else real(name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(prove, "run", at_mask)
        said = train("train", "recipe.yaml", "--out", "run", "--json")
    assert said.code == 130
    assert "Stopped during the proofs." in said.err
    assert '"finished": false' in said.out
    assert said.next == ["train", "recipe.yaml", "--out", "run", "--resume"]
    assert not Run(tmp_path / "run").begun
    assert train(*said.next).code == 0
    assert Run(tmp_path / "run").proven


def test_during_the_exam_before(train: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(training, "examine", pressed)
        said = train(*FIRST)
    assert said.code == 130
    assert "Stopped during the exam before training." in said.err
    assert train(*said.next).code == 0
    assert Run(tmp_path / "run").read("eval/before.json")["task"]


def test_during_the_last_exam(train: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every update stands; going on makes none of them again and writes what was missing."""
    real = training.examine

    def last(*args: Any, words: str, **options: Any) -> Any:
        return pressed() if words == "the tuned model" else real(*args, words=words, **options)

    with monkeypatch.context() as patch:
        patch.setattr(training, "examine", last)
        said = train(*FIRST)
    assert said.code == 130
    checkpoint, result = Path("run/checkpoints/step-000004"), Path("run/model")
    assert f"Stopped during the last exam. The updates are saved up to {checkpoint}, and the result in {result}." in (
        said.err
    )
    before = curve(tmp_path / "run")

    def none(*_: Any) -> Any:
        raise AssertionError("an update was made again")

    monkeypatch.setattr("tunesmith.engine.loop.one_update", none)
    assert train(*said.next).code == 0
    assert curve(tmp_path / "run") == before
    assert Run(tmp_path / "run").report.finished


def test_twice_during_an_update(train: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second Ctrl-C stops at once: the last checkpoint is what there is."""
    from tunesmith.engine import loop

    real = loop.one_update

    def update(job: Any, step: int) -> Any:
        if step == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return real(job, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "one_update", update)
        said = train(*FIRST, "train.save_every=2")
    assert said.code == 130
    assert f"Stopped during training. The updates are saved up to {Path('run/checkpoints/step-000002')}" in said.err
    assert "train.save_every=2" in said.next
    assert train(*said.next).code == 0
    assert len(curve(tmp_path / "run")) == STEPS


def test_from_python_it_is_a_keyboard_interrupt(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "examine", pressed)
    with pytest.raises(KeyboardInterrupt) as raised:
        go(material.recipe(method=LORA, steps=1), tmp_path / "run")
    assert isinstance(raised.value, Interrupted)
    assert (raised.value.folder, raised.value.begun) == (str(tmp_path / "run"), True)


def _hears_signals() -> None:
    """A shell that starts the tests in its background lets them, and their children, ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("told", ["proof: mask", "the base: loss", "the tuned model: loss"])
def test_a_real_signal(told: str, material: Material, tmp_path: Path) -> None:
    """SIGINT to the command itself as soon as its record tells of a phase."""
    recipe = recipe_file(material, tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tunesmith"]
    events = tmp_path / "run" / "events.jsonl"
    first = [*command, "train", str(recipe), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        first,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hears_signals,  # noqa: PLW1509 - no thread runs here
    )
    while process.poll() is None and not (events.is_file() and told in events.read_text()):
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    said = Said(process.returncode, err, "")
    done = subprocess.run([*command, *said.next], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(curve(tmp_path / "run")) == STEPS
    assert Run(tmp_path / "run").proven
