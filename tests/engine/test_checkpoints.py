"""Checkpoints are whole or not there: a full disk, a killed process and a flipped byte cost nothing that was saved."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from training import equal, final, job

from tunesmith.engine import checkpoint, optimizers
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import Job, fit
from tunesmith.errors import UserError
from tunesmith.methods.lora import Lora


def trained(folder: Path, steps: int = 4, **options: Any) -> Job:
    """A finished run with checkpoints at every second update."""
    made = job(folder, steps=steps, method=Lora(rank=4), config={"keep": 10, "evaluate_every": 100}, **options)
    fit(made, Progress())
    return made


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def flip(path: Path, place: float = 0.5) -> None:
    """Change one bit of one byte."""
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    path.write_bytes(bytes(data))


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """The operating system refuses to write files beyond ``size`` bytes, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, former)


def test_a_restored_job_is_the_saved_one(tmp_path: Path) -> None:
    made = trained(tmp_path)
    again = job(tmp_path, steps=4, method=Lora(rank=4))
    assert not equal(final(again), final(made))
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None
    checkpoint.restore(found.path, again.weights, again.optimizer)
    assert equal(final(again), final(made))
    assert equal(optimizers.state_tensors(again.optimizer), optimizers.state_tensors(made.optimizer))
    assert all(
        torch.equal(parameter, again.weights.values[name]) for name, parameter in again.weights.parameters.items()
    )
    assert (found.progress.step, found.progress.loss_tokens > 0) == (4, True)


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    fit(job(tmp_path, steps=7, method=Lora(rank=4), config={"keep": 2, "save_every": 1}), Progress())
    assert [path.name for path in checkpoint.steps(tmp_path / "checkpoints")] == ["step-000006", "step-000007"]


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000, 2):
        (tmp_path / f"step-{step:06d}").mkdir()
    (tmp_path / "notes").mkdir()
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["step-000002", "step-999999", "step-1000000"]
    assert checkpoint.steps(tmp_path / "nowhere") == []


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "checkpoints") is None


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "progress.json"])
@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.999])
def test_a_flipped_bit_is_noticed_and_the_former_checkpoint_taken(file: str, place: float, tmp_path: Path) -> None:
    trained(tmp_path)
    flip(tmp_path / "checkpoints" / "step-000004" / file, place)
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None
    assert found.path.name == "step-000002"
    assert found.progress.step == 2
    assert len(found.damaged) == 1
    assert "step-000004" in found.damaged[0]


def test_every_number_of_the_progress_is_guarded(tmp_path: Path) -> None:
    """Not only the tensors: a changed digit would resume the run elsewhere."""
    trained(tmp_path)
    path = tmp_path / "checkpoints" / "step-000004" / "progress.json"
    path.write_text(path.read_text().replace('"step": 4', '"step": 6'))
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None
    assert found.progress.step == 2


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "progress.json"])
def test_a_missing_file_and_half_a_file_are_noticed(file: str, tmp_path: Path) -> None:
    trained(tmp_path, steps=6)
    (tmp_path / "checkpoints" / "step-000006" / file).unlink()
    half = tmp_path / "checkpoints" / "step-000004" / file
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None
    assert (found.path.name, len(found.damaged)) == ("step-000002", 2)


def test_all_damaged_is_said_and_nothing_is_guessed(tmp_path: Path) -> None:
    trained(tmp_path)
    for path in checkpoint.steps(tmp_path / "checkpoints"):
        flip(path / "weights.safetensors")
    with pytest.raises(UserError, match="damaged") as caught:
        checkpoint.newest(tmp_path / "checkpoints")
    assert caught.value.code == "corrupt-checkpoint"
    assert "step-000002" in str(caught.value)
    assert "step-000004" in str(caught.value)


def test_another_methods_checkpoint_is_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None
    full = job(tmp_path, steps=4)
    with pytest.raises(UserError) as caught:
        checkpoint.restore(found.path, full.weights, full.optimizer)
    assert caught.value.code == "checkpoint-mismatch"


def test_a_full_disk_is_a_sentence_and_the_former_checkpoint_stays(tmp_path: Path) -> None:
    """The real thing: writing fails inside safetensors, whose error is not an OSError."""
    made = trained(tmp_path)
    before = content(tmp_path)
    progress = Progress(step=6)
    with pytest.raises(UserError, match="step-000006") as caught, small_disk(4096):
        checkpoint.save(tmp_path / "checkpoints", progress, made.weights, made.optimizer)
    assert caught.value.code == "cannot-write"
    assert "File too large" in str(caught.value)
    assert content(tmp_path) == before
    assert checkpoint.save(tmp_path / "checkpoints", progress, made.weights, made.optimizer).is_dir()


@pytest.mark.parametrize("call", range(8))
def test_a_disk_that_fills_at_any_sync(call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write fails, there is a whole checkpoint afterwards: the former one, or the new one complete."""
    made = trained(tmp_path)
    before = content(tmp_path)
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == call + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    saved = True
    try:
        checkpoint.save(tmp_path / "checkpoints", Progress(step=6), made.weights, made.optimizer)
    except UserError:
        saved = False
    monkeypatch.undo()
    assert saved == (len(calls) <= call)
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None
    assert found.damaged == ()
    assert found.progress.step == 6 if saved else found.progress.step in (4, 6)
    after = content(tmp_path)
    assert {name: after[name] for name in before} == before
    assert not [name for name in after if ".tmp" in name]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    made = trained(tmp_path)
    half = tmp_path / "checkpoints" / ".step-000006.123.tmp"
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    assert checkpoint.newest(tmp_path / "checkpoints") is not None
    checkpoint.save(tmp_path / "checkpoints", Progress(step=6), made.weights, made.optimizer)
    checkpoint.prune(tmp_path / "checkpoints", 2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-000004", "step-000006"]
