"""The diagonal of the Fisher information a token, from squared gradients of whole sequences,

    F_i = Σ_x ( ∂ log p(x) / ∂θ_i )² / Σ_x tokens(x),      log p(x) = Σ_t log p(x_t | x_<t).

Of text that the model sampled itself this is an unbiased estimate of the *true* Fisher information: gradients of
different tokens of such a text are uncorrelated, so the square of their sum is, on average, the sum of their squares.
Of text from files (or labels of rows) it is the *empirical* Fisher, which also counts how far the model is from that
text (Kunstner, Balles & Hennig 2019, arXiv:1905.12558, section 2).

For a small step ½ Σ_i F_i Δθ_i² is the part of KL(before ‖ after), in nats a token, that a diagonal can see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tunesmith.addons.around import innermost, targets
from tunesmith.contracts.addon import Masters, Setting
from tunesmith.contracts.batch import Example
from tunesmith.contracts.objective import Objective
from tunesmith.contracts.policy import Want
from tunesmith.data.collate import flatten
from tunesmith.files import whole_folder

FILE = "fisher.safetensors"


def kept(setting: Setting, examples: Callable[[], Sequence[Example]]) -> dict[str, torch.Tensor]:
    """The diagonal as it was measured before this run's first update: read from its folder, or measured now."""
    folder = setting.folder
    if not (folder / FILE).is_file():
        measured = diagonal(setting, examples())
        _write(folder, measured)
    found = load_file(folder / FILE)
    return {name: found[name].to(value.device) for name, value in setting.weights.values.items()}


def diagonal(setting: Setting, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Float32 tensors by name, one backward pass a sequence, without dropout; gradients are dropped afterwards.

    With a task head log p is minus the objective's own loss, otherwise the log-probability of the marked tokens.
    """
    weights, policy = setting.weights, setting.policy
    total = {name: torch.zeros_like(value) for name, value in weights.values.items()}
    training = [module for module in policy.modules() if module.training]
    policy.eval()
    for example in examples:
        weights.drop_gradients()
        _log_likelihood(policy, innermost(setting.objective), example).backward()
        _add_squares(weights, total)
    weights.drop_gradients()
    for module in training:
        module.training = True
    count = targets(examples)
    return {name: value / count for name, value in total.items()}


def _log_likelihood(policy: nn.Module, objective: Objective, example: Example) -> torch.Tensor:
    device = next(policy.parameters()).device
    if objective.head() is None:
        logprob: torch.Tensor = policy(flatten([example]).to(device), Want(logprob=True)).logprob
        return logprob.sum()
    batch = objective.collate([example]).to(device)
    terms = objective.loss(policy(batch, objective.want), batch)
    return -torch.stack([term.weight * term.values.sum() for term in terms if term.weight]).sum()


def _add_squares(weights: Masters, total: dict[str, torch.Tensor]) -> None:
    weights.collect()
    for name, value in weights.values.items():
        if value.grad is not None:
            total[name] += value.grad.square()


def _write(folder: Path, values: dict[str, torch.Tensor]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder) as temporary:
        save_file({name: value.cpu().contiguous() for name, value in values.items()}, temporary / FILE)
