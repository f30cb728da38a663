"""Out of memory: the update's gradients are dropped and it is replayed in smaller pieces, as if nothing happened."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from training import Rows, equal, examples, job, record, run

from tunesmith.contracts.batch import Batch
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import fit
from tunesmith.errors import UserError

STEPS = 3
BUDGET, FITS = 96, 50


class Cramped(nn.Module):
    """A policy with memory for ``room`` tokens. The first of an update still fits: its gradients must be dropped."""

    def __init__(self, policy: nn.Module, room: int, spare: int) -> None:
        super().__init__()
        self.policy, self.room, self.spare = policy, room, spare

    def forward(self, batch: Batch, want: Want) -> Outputs:
        if batch.tokens > self.room:
            self.spare -= 1
            if self.spare < 0:
                raise torch.OutOfMemoryError("simulated")
        outputs: Outputs = self.policy(batch, want)
        return outputs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spare", [0, 1], ids=["at once", "after one micro-batch"])
def test_the_replayed_run_is_the_one_with_smaller_pieces(spare: int, dtype: torch.dtype, tmp_path: Path) -> None:
    """Bit for bit: whatever was computed before memory ran out leaves no trace."""
    options = {"steps": STEPS, "dtype": dtype, "feed": Rows(examples(40), 20)}
    disturbed = job(
        tmp_path / "a", microbatch_tokens=BUDGET, wrap=lambda policy: Cramped(policy, FITS, spare), **options
    )
    undisturbed = job(tmp_path / "b", microbatch_tokens=BUDGET // 2, **options)
    (curve, weights), (wanted, other) = run(disturbed), run(undisturbed)
    assert curve == wanted
    assert equal(weights, other)
    told = [note for note in record(disturbed).notes if "out of memory" in note]
    assert told == [f"out of memory at {BUDGET} tokens; replaying the update with {BUDGET // 2} tokens at once"]


def test_the_curve_is_that_of_the_large_pieces(tmp_path: Path) -> None:
    """To 1e-5: only the order of float32 sums differs."""
    cramped = job(tmp_path / "a", steps=STEPS, microbatch_tokens=200, wrap=lambda policy: Cramped(policy, FITS, 0))
    curve, _ = run(cramped)
    wanted, _ = run(job(tmp_path / "b", steps=STEPS, microbatch_tokens=200))
    assert curve == pytest.approx(wanted, rel=1e-5)


def test_one_row_too_many_is_the_users_to_solve(tmp_path: Path) -> None:
    rows = examples(8)
    made = job(
        tmp_path,
        steps=1,
        feed=Rows(rows, 8),
        wrap=lambda policy: Cramped(policy, max(map(len, rows)) - 1, 0),
    )
    with pytest.raises(UserError, match="out of memory in update 1") as caught:
        fit(made, Progress())
    assert caught.value.code == "out-of-memory"
    assert "max_tokens" in str(caught.value)


def test_memory_is_freed_another_way_before_the_user_is_asked(tmp_path: Path) -> None:
    """One row does not fit until activations are recomputed; then the run is the undisturbed one, bit for bit."""
    rows = examples(8)
    longest = max(map(len, rows))
    cramped = job(
        tmp_path / "a",
        steps=2,
        feed=Rows(rows, 8),
        microbatch_tokens=longest,
        wrap=lambda policy: Cramped(policy, longest - 1, 0),
    )
    asked: list[int] = []

    def relieve() -> bool:
        asked.append(1)
        cramped.policy.room = longest
        return True

    cramped.relieve = relieve
    curve, weights = run(cramped)
    wanted, other = run(job(tmp_path / "b", steps=2, feed=Rows(rows, 8), microbatch_tokens=longest))
    assert asked == [1]
    assert curve == wanted
    assert equal(weights, other)
    assert "recomputing activations" in record(cramped).notes[0]
