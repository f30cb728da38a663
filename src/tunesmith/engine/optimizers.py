"""Optimizers by name, built over float32 masters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tunesmith.engine.weights import Weights
from tunesmith.errors import UserError, did_you_mean
from tunesmith.recipe.schema import TrainConfig

Optimizer = torch.optim.Optimizer


def _adamw(groups: list[dict[str, Any]], config: TrainConfig) -> Optimizer:
    return torch.optim.AdamW(groups, betas=config.betas, fused=True)


def _adam(groups: list[dict[str, Any]], config: TrainConfig) -> Optimizer:
    return torch.optim.Adam(groups, betas=config.betas, fused=True)


def _sgd(groups: list[dict[str, Any]], config: TrainConfig) -> Optimizer:
    return torch.optim.SGD(groups, momentum=config.betas[0], fused=True)


def _adafactor(groups: list[dict[str, Any]], _: TrainConfig) -> Optimizer:
    return torch.optim.Adafactor(groups)


def _adamw_8bit(groups: list[dict[str, Any]], config: TrainConfig) -> Optimizer:
    """Moments in 8 bits, blockwise (Dettmers et al. 2022, arXiv:2110.02861); small tensors keep float32."""
    return _bitsandbytes("AdamW8bit")(groups, betas=config.betas)


def _paged_adamw_8bit(groups: list[dict[str, Any]], config: TrainConfig) -> Optimizer:
    """The same in memory that a GPU may move to the host when it runs short (QLoRA, arXiv:2305.14314, section 3)."""
    if not torch.cuda.is_available():
        raise UserError(
            "paged optimizer state is moved between a GPU and the host, and there is no GPU here",
            got="train.optimizer: paged-adamw-8bit",
            allowed="adamw-8bit",
            code="needs-gpu",
        )
    return _bitsandbytes("PagedAdamW8bit")(groups, betas=config.betas)


def _bitsandbytes(name: str) -> Any:
    try:
        import bitsandbytes
    except ImportError:
        raise UserError(
            "8-bit optimizers need bitsandbytes",
            hint="Install it with: pip install 'tunesmith[quant]'",
            code="missing-extra",
        ) from None
    return getattr(bitsandbytes.optim, name)


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], TrainConfig], Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
    "adafactor": _adafactor,
    "adamw-8bit": _adamw_8bit,
    "paged-adamw-8bit": _paged_adamw_8bit,
}


def check(name: str) -> None:
    """A ``UserError`` where no optimizer has this name."""
    if name not in OPTIMIZERS:
        raise UserError(
            "unknown optimizer in train.optimizer",
            got=f"'{name}'",
            allowed=sorted(OPTIMIZERS),
            hint=did_you_mean(name, OPTIMIZERS),
            code="unknown-optimizer",
        )


def build(weights: Weights, config: TrainConfig) -> Optimizer:
    """The recipe's optimizer over ``weights``; decay is left off vectors (biases, norms) and where a group says so."""
    check(config.optimizer)
    groups: list[dict[str, Any]] = []
    for group in weights.groups:
        named = [(name, weights.values[name]) for name in group.parameters]
        for matrices in (True, False):
            members = [(name, value) for name, value in named if (value.ndim >= 2) == matrices]
            if members:
                decay = config.weight_decay if matrices and group.decay else 0.0
                groups.append(
                    {
                        "params": [value for _, value in members],
                        "names": [name for name, _ in members],
                        "rate": group.rate,
                        "lr": config.learning_rate * group.rate,
                        "weight_decay": decay,
                    }
                )
    return OPTIMIZERS[config.optimizer](groups, config)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every group the update's learning rate times the group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]


def state_tensors(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state by ``<parameter name>|<state name>``, float32 or integer tensors (counts as int64)."""
    tensors: dict[str, torch.Tensor] = {}
    for name, value in _members(optimizer):
        for key, state in optimizer.state.get(value, {}).items():
            tensors[f"{name}|{key}"] = state if isinstance(state, torch.Tensor) else torch.tensor(state)
    return tensors


def load_state(optimizer: Optimizer, tensors: dict[str, torch.Tensor]) -> int:
    """The inverse of :func:`state_tensors`; returns how many parameters received theirs.

    State of a parameter that is absent here, or of another shape, is left out.
    """
    received = 0
    for name, value in _members(optimizer):
        prefix = f"{name}|"
        state = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        if state and (not _elementwise(optimizer) or _fits(value, state)):
            received += 1
            optimizer.state[value] = {key: _like(value, tensor) for key, tensor in state.items()}
    return received


def _fits(value: torch.Tensor, state: dict[str, torch.Tensor]) -> bool:
    return all(tensor.ndim == 0 or tensor.shape == value.shape for tensor in state.values())


def _like(value: torch.Tensor, stored: torch.Tensor) -> torch.Tensor | int:
    """``stored`` where ``value`` is, and as it lies in memory: fused optimizers walk both in storage order."""
    if stored.ndim == 0 and stored.dtype == torch.int64:
        return int(stored)  # a count that was no tensor
    if stored.shape != value.shape:
        return stored.to(value.device) if stored.ndim else stored.clone()
    return torch.empty_like(value, dtype=stored.dtype).copy_(stored)


def _elementwise(optimizer: Optimizer) -> bool:
    """Whether state has its parameter's shape (Adafactor's factored moments and the scales of 8 bits have not)."""
    return type(optimizer).__module__.startswith("torch.") and not isinstance(optimizer, torch.optim.Adafactor)


def _members(optimizer: Optimizer) -> list[tuple[str, torch.Tensor]]:
    return [pair for group in optimizer.param_groups for pair in zip(group["names"], group["params"], strict=True)]
