"""Random numbers of an update: its own, whatever came before; the seed's, the step's and the process's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from training import job

from tunesmith.contracts.batch import Batch
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.engine.loop import one_update
from tunesmith.engine.workers import Workers


class Drawing(nn.Module):
    """A policy that writes down a random number at every call, as dropout would draw it."""

    def __init__(self, policy: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.drawn: list[float] = []

    def forward(self, batch: Batch, want: Want) -> Outputs:
        self.drawn.append(float(torch.rand(())))
        outputs: Outputs = self.policy(batch, want)
        return outputs


def drawn(folder: Path, steps: list[int], **options: Any) -> list[float]:
    """The first number of each update of ``steps``."""
    made = job(folder, steps=9, wrap=Drawing, microbatch_tokens=10_000, **options)
    for step in steps:
        one_update(made, step)
    assert isinstance(made.policy, Drawing)
    return made.policy.drawn


def test_every_update_draws_its_own_and_a_replay_draws_them_again(tmp_path: Path) -> None:
    whole = drawn(tmp_path, [0, 1, 2, 3])
    assert len(set(whole)) == 4
    torch.rand(17)
    assert drawn(tmp_path, [2, 2, 3]) == [whole[2], whole[2], whole[3]]


def test_another_seed_and_another_process_draw_others(tmp_path: Path) -> None:
    class Second(Workers):
        def add(self, tensors: object) -> None:
            """Alone."""

    first = drawn(tmp_path, [0])
    assert drawn(tmp_path, [0], seed=1) != first
    assert drawn(tmp_path, [0], workers=Second(rank=1, world=2)) != first


def test_pieces_of_one_update_draw_different_numbers(tmp_path: Path) -> None:
    made = job(tmp_path, steps=1, wrap=Drawing, microbatch_tokens=1)
    one_update(made, 0)
    assert isinstance(made.policy, Drawing)
    assert len(set(made.policy.drawn)) == 8
