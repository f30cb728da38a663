"""Two workers that share an update, as threads: the curve of one, also where one of them has nothing to compute."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from training import Rows, equal, examples, final, job, record, run

from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import Job, fit
from tunesmith.engine.workers import Workers

STEPS = 4


@dataclass(frozen=True)
class Meeting:
    """Where two threads add up; a worker that does not come, or brings something else, breaks it."""

    barrier: threading.Barrier
    brought: dict[int, Sequence[torch.Tensor]]


@dataclass(frozen=True)
class Thread(Workers):
    """A worker whose sums go through memory instead of a network."""

    meeting: Meeting | None = None

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        assert self.meeting is not None
        self.meeting.brought[self.rank] = [tensor.clone() for tensor in tensors]
        self.meeting.barrier.wait(timeout=60)
        first, second = self.meeting.brought[0], self.meeting.brought[1]
        assert len(first) == len(second), "every process takes part in every sum"
        for tensor, left, right in zip(tensors, first, second, strict=True):
            tensor.copy_(left + right)
        self.meeting.barrier.wait(timeout=60)

    def agree(self, flag: bool) -> bool:
        shared = torch.tensor([float(flag)])
        self.add([shared])
        return bool(shared)


def pair(folder: Path, rows: Rows, dtype: torch.dtype) -> list[Job]:
    """Two jobs trained together, each in its thread."""
    meeting = Meeting(threading.Barrier(2), {})
    jobs = [
        job(folder / str(rank), steps=STEPS, dtype=dtype, feed=rows, workers=Thread(rank, 2, meeting))
        for rank in range(2)
    ]
    failures: list[BaseException] = []

    def work(one: Job) -> None:
        try:
            fit(one, Progress())
        except BaseException as error:  # told to the test below
            failures.append(error)
            meeting.barrier.abort()

    threads = [threading.Thread(target=work, args=(one,)) for one in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    return jobs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 2, 8], ids=["a row for one of them", "a row each", "many rows"])
def test_two_workers_are_one(size: int, dtype: torch.dtype, tmp_path: Path) -> None:
    """To 1e-5: sums in another order. (In bfloat16 one row a micro-batch, so that its gradients round alike.)"""
    rows = Rows(examples(40), size)
    tokens = 64 if dtype == torch.float32 else 1
    alone = job(tmp_path / "alone", steps=STEPS, dtype=dtype, feed=rows, microbatch_tokens=tokens)
    wanted, _ = run(alone)
    jobs = pair(tmp_path, rows, dtype)
    for one in jobs:
        bound = 1e-5 if dtype == torch.float32 else 2e-3
        assert record(one).values("loss") == pytest.approx(wanted, rel=bound)
    assert equal(final(jobs[0]), final(jobs[1]))
    assert (tmp_path / "0" / "checkpoints").is_dir()
    assert not (tmp_path / "1" / "checkpoints").exists()


def test_each_takes_its_share() -> None:
    items = list(range(7))
    shares = [Workers(rank, 3).share(items) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_worker_alone_changes_nothing() -> None:
    tensor = torch.tensor([3.0])
    Workers().add([tensor])
    assert tensor.item() == 3.0
    assert Workers().agree(True)
    assert not Workers().agree(False)
    assert Workers().one_after_first(lambda: 5) == 5
