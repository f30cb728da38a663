"""Leaving no trace: what proofs disturb is put back bit for bit.

The trap: trained weights go to a file and come back from it, because holding a second copy of them would, for full
fine-tuning, be a second copy of the base.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from tunesmith.engine.weights import Weights
from tunesmith.proof.base import Case

NOISE = 0.02
"""Standard deviation of what stands in for trained values: that of a usual initialisation."""

BEFORE = "before.safetensors"


@contextmanager
def untouched(case: Case) -> Iterator[None]:
    """Put back random state, training modes, gradients and driver. (Weights are ``moving``'s and ``stirred``'s.)"""
    random = torch.get_rng_state()
    random_cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    modes = {module: module.training for module in case.policy.modules()}
    holders: list[torch.Tensor] = [*case.policy.parameters(), *case.weights.values.values()]
    gradients = [holder.grad for holder in holders]
    driver = case.policy.driver
    for holder in holders:
        holder.grad = None
    try:
        yield
    finally:
        for holder, gradient in zip(holders, gradients, strict=True):
            holder.grad = gradient
        for module, training in modes.items():
            module.training = training
        if case.policy.driver != driver:
            case.policy.drive(driver)
        torch.set_rng_state(random)
        if random_cuda:
            torch.cuda.set_rng_state_all(random_cuda)


@contextmanager
def moving(case: Case) -> Iterator[Path]:
    """A temporary folder; within, trained weights may change, afterwards they are those of its ``BEFORE``.

    What the method remembers besides weights is put back too.
    """
    remembered = {name: value.clone() for name, value in case.attached.state().items()}
    with tempfile.TemporaryDirectory(prefix="moving-", dir=case.scratch) as name:
        folder = Path(name)
        _before(case, folder)
        try:
            yield folder
        finally:
            read(case.weights, folder / BEFORE)
            case.attached.restore(remembered)


@contextmanager
def stirred(case: Case) -> Iterator[None]:
    """Within, trained values that start all equal have noise: an adapter that does nothing yet would prove nothing."""
    blank = [(value, float(value.flatten()[0])) for value in case.weights.values.values() if _constant(value)]
    generator = torch.Generator().manual_seed(case.seed)
    with torch.no_grad():
        for value, start in blank:
            value.copy_(start + torch.randn(value.shape, generator=generator) * NOISE)
    case.weights.publish()
    try:
        yield
    finally:
        for value, start in blank:
            value.detach().fill_(start)
        case.weights.publish()


def _constant(value: torch.Tensor) -> bool:
    """Whether all entries are the same: zero (most adapters) or one (those that scale)."""
    return value.numel() > 1 and bool((value == value.flatten()[0]).all())


@torch.no_grad()
def scramble(weights: Weights, seed: int) -> None:
    """Add noise to every trained value."""
    generator = torch.Generator().manual_seed(seed)
    for value in weights.values.values():
        value.add_((torch.randn(value.shape, generator=generator) * NOISE).to(value.device))
    weights.publish()


def write(weights: Weights, path: Path) -> None:
    """Write the float32 masters to a file."""
    save_file({name: value.detach().contiguous() for name, value in weights.values.items()}, path)


@torch.no_grad()
def read(weights: Weights, path: Path) -> None:
    """Take the masters back from a file, tensor by tensor."""
    with safe_open(path, "pt") as file:
        for name, value in weights.values.items():
            value.copy_(file.get_tensor(name))
    weights.publish()


def differing(weights: Weights, path: Path) -> list[tuple[str, float]]:
    """Masters that are not, bit for bit, those of a file: names and largest differences."""
    found = []
    with safe_open(path, "pt") as file:
        for name, value in weights.values.items():
            other, mine = file.get_tensor(name), value.detach().cpu()
            if not torch.equal(mine, other):
                found.append((name, float((mine - other).abs().max())))
    return found


def _before(case: Case, folder: Path) -> None:
    """Put the weights as they are into ``folder``; the proofs of one ``prove`` share one file."""
    if case.scratch is None:
        write(case.weights, folder / BEFORE)
        return
    shared = case.scratch / BEFORE
    if not shared.exists():
        write(case.weights, shared)
    (folder / BEFORE).symlink_to(shared)


def bit_sums(module: nn.Module, names: set[str] | None = None) -> dict[str, int]:
    """The sum of each parameter's bit patterns: one changed bit changes it, and no copy is held.

    Packed weights, which are buffers of integers, are always among them.
    """
    packed = {name: value for name, value in module.named_buffers() if value.dtype in (torch.uint8, torch.int8)}
    sums = {name: int(value.sum(dtype=torch.int64)) for name, value in packed.items()}
    for name, parameter in module.named_parameters():
        if names is None or name in names:
            bits = parameter.detach().contiguous().view(_INTEGERS[parameter.element_size()])
            sums[name] = int(bits.sum(dtype=torch.int64))
    return sums


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
