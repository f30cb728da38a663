"""GRPO's variants beside TRL's own loss on equal batches: values and gradients with respect to log-probabilities.

TRL's ``_compute_loss`` is called with log-probabilities given, in place of a model's: what is compared is the formula.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from objectives.rollout_batches import examples, flat, lengths, loss_of
from tunesmith.objectives.grpo import Grpo

pytestmark = pytest.mark.peer
LONGEST = 9
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grpo": ({"variant": "grpo", "kl": 0.3}, {"loss_type": "grpo", "beta": 0.3}),
    "grpo-no-kl": ({"variant": "grpo", "kl": 0.0}, {"loss_type": "grpo"}),
    "dr-grpo": ({"variant": "dr-grpo"}, {"loss_type": "dr_grpo"}),
    "bnpo": ({"variant": "grpo", "kl": 0.0, "normalise": "tokens"}, {"loss_type": "bnpo"}),
    "dapo": ({"variant": "dapo"}, {"loss_type": "dapo", "epsilon_high": 0.28}),
    "gspo": (
        {"variant": "gspo", "clip_low": 0.05, "clip_high": 0.1},
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.05, "epsilon_high": 0.1},
    ),
    "cispo": ({"variant": "cispo", "clip_high": 0.2}, {"loss_type": "cispo", "epsilon_high": 1.2}),
}
"""Ours, and the same in TRL's words (CISPO's bound there is the largest ratio itself)."""


class One:
    """An accelerator of one process."""

    num_processes = 1
    sync_gradients = True
    device = torch.device("cpu")

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        return values.reshape(-1)

    def reduce(self, values: torch.Tensor, reduction: str = "sum") -> torch.Tensor:
        return values


def padded(values: torch.Tensor) -> torch.Tensor:
    """``[N] -> [A, T]``, zeros behind."""
    return torch.nn.utils.rnn.pad_sequence(list(values.split(lengths())), batch_first=True)


def theirs(logprob: torch.Tensor, options: dict[str, Any], rows: list[Any]) -> torch.Tensor:
    trl = pytest.importorskip("trl", reason="needs the `peers` extra")
    advantage = answer_advantages(rows)
    mask = padded(torch.ones(len(logprob)))
    new = padded(logprob)
    trainer = trl.GRPOTrainer.__new__(trl.GRPOTrainer)
    settings: dict[str, Any] = {
        "loss_type": "grpo", "beta": 0.0, "importance_sampling_level": "token", "epsilon_low": 0.2, "epsilon_high": 0.2,
        "top_entropy_quantile": 1.0, "off_policy_mask_threshold": None, "use_vllm": False, "aux_loss_enabled": False,
        "vllm_importance_sampling_correction": False, "_entropy_bonus_enabled": False, "use_adaptive_entropy": False,
        "max_completion_length": LONGEST, "current_gradient_accumulation_steps": 1, "accelerator": One(),
        "model": SimpleNamespace(training=True), "_metrics": {"train": defaultdict(list)},
        "args": SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        "_get_per_token_logps_and_entropies": lambda *_, **__: (new, torch.zeros_like(new), None),
    }  # fmt: skip
    for name, value in {**settings, **options}.items():
        setattr(trainer, name, value)
    ids = torch.zeros_like(mask, dtype=torch.long)
    loss: torch.Tensor = trainer._compute_loss(
        None,
        {
            **({"importance_sampling_ratio": padded(flat(rows, "correction"))} if options.get("use_vllm") else {}),
            "prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1] + 1, "completion_ids": ids,
            "completion_mask": mask, "advantages": advantage, "old_per_token_logps": padded(flat(rows, "old")),
            "ref_per_token_logps": padded(flat(rows, "reference")), "num_items_in_batch": mask.sum(),
        },
    )  # fmt: skip
    return loss


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_loss_is_trls(name: str) -> None:
    """TRL's advantages are one an answer, so ours are made so; float64, summed in another order."""
    ours, options = CASES[name]
    same_loss(Grpo(**ours, max_new_tokens=LONGEST), options, one_advantage(examples()))


def test_the_correction_of_another_sampler_is_trls() -> None:
    """Truncated importance sampling: TRL's ratio of the trainer to vLLM weighs tokens, and not the divergence."""
    rows = one_advantage(examples(names=("old", "reference", "advantage", "correction")))
    options = {"use_vllm": True, "vllm_importance_sampling_correction": True, "beta": 0.3}
    same_loss(Grpo(kl=0.3, max_new_tokens=LONGEST), options, rows)


def test_the_gradient_of_leave_one_out_is_trls() -> None:
    """TRL's RLOO has a ratio over the answer where ours has none: at the first update it is 1, and the gradient of both
    is that of REINFORCE, a mean over answers."""
    trl = pytest.importorskip("trl", reason="needs the `peers` extra")
    rows = one_advantage(examples())
    logprob = flat(rows, "old").requires_grad_(True)
    mine = loss_of(Grpo(variant="rloo", max_new_tokens=LONGEST), rows, logprob)
    new, mask = padded(logprob), padded(torch.ones(len(logprob)))
    trainer = trl.RLOOTrainer.__new__(trl.RLOOTrainer)
    settings: dict[str, Any] = {
        "epsilon_low": 0.2, "epsilon_high": 0.2, "aux_loss_enabled": False, "accelerator": One(),
        "model": SimpleNamespace(training=True), "_metrics": {"train": defaultdict(list)},
        "_get_per_token_logps_and_entropies": lambda *_, **__: (new, torch.zeros_like(new), None),
    }  # fmt: skip
    for name, value in settings.items():
        setattr(trainer, name, value)
    ids = torch.zeros_like(mask, dtype=torch.long)
    wanted = trainer._compute_loss(
        None,
        {
            "prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1] + 1, "completion_ids": ids, "completion_mask": mask,
            "old_logps": (new * mask).sum(1).detach(), "advantages": answer_advantages(rows),
        },
    )  # fmt: skip
    torch.testing.assert_close(
        *(torch.autograd.grad(loss, logprob)[0] for loss in (mine, wanted)), rtol=1e-6, atol=1e-9
    )


def same_loss(objective: Grpo, options: dict[str, Any], rows: list[Any]) -> None:
    """Value and gradient with respect to log-probabilities a little off those when sampled."""
    generator = torch.Generator().manual_seed(7)
    noise = 0.3 * torch.randn(sum(lengths()), generator=generator, dtype=torch.float64)
    logprob = (flat(rows, "old") + noise).requires_grad_(True)
    mine, wanted = loss_of(objective, rows, logprob), theirs(logprob, options, rows)
    torch.testing.assert_close(mine, wanted.to(mine.dtype), rtol=1e-7, atol=1e-9)
    gradients = [torch.autograd.grad(loss, logprob)[0] for loss in (mine, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)


def one_advantage(rows: list[Any]) -> list[Any]:
    """``rows`` whose tokens have the advantage of their answer's first."""
    for row in rows:
        first = [part[0] for part in torch.from_numpy(row.extras["advantage"]).split(_answers(row))]
        row.extras["advantage"][:] = torch.cat(
            [value.repeat(size) for value, size in zip(first, _answers(row), strict=True)]
        ).numpy()
    return rows


def answer_advantages(rows: list[Any]) -> torch.Tensor:
    """``[A]``"""
    return torch.stack([part[0] for part in flat(rows, "advantage").split(lengths())])


def _answers(row: Any) -> list[int]:
    edges = [*row.branches, len(row)]
    return [end - start for start, end in pairwise(edges)]
