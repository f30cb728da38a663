"""Trained parameters: float32 masters, float32 gradients, and the copy the forward pass reads.

Adam at 5e-5 in bfloat16 moves a weight of 0.02 by a hundredth of what it should: the step is smaller than the format's
spacing. So what is trained lives in float32. Where the model computes in bfloat16, each parameter has a float32 master;
a micro-batch's gradient is added to the master's gradient as soon as autograd has it, and the optimizer's step is
written back rounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from tunesmith.contracts.method import Group


class Weights:
    """Masters of all trained parameters, by stable name. Build it *before* the model is cast to its compute dtype."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.parameters: dict[str, nn.Parameter] = {}
        for group in groups:
            self.parameters.update(group.parameters)
        self.values = {name: _float32(parameter) for name, parameter in self.parameters.items()}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def bind(self) -> None:
        """Tie masters to the parameters as they are now (after the model was cast and moved)."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for name, parameter in self.parameters.items():
            if parameter.dtype == torch.float32:
                parameter.data.copy_(self.values[name])
                self.values[name] = parameter.detach()
            else:
                self.values[name] = self.values[name].to(parameter.device)
                self._handles.append(parameter.register_post_accumulate_grad_hook(_Accumulate(self.values[name])))
            self.values[name].grad = None
        self.publish()

    def unbind(self) -> None:
        """Remove the hooks; the parameters keep their rounded values."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def publish(self) -> None:
        """Write the masters into the copies the forward pass reads."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                if parameter.dtype != torch.float32:
                    parameter.copy_(self.values[name])

    def collect(self) -> None:
        """Make ``values[name].grad`` the update's float32 gradient, whatever the parameter's dtype."""
        for name, parameter in self.parameters.items():
            if parameter.dtype == torch.float32:
                self.values[name].grad = parameter.grad

    def existing(self) -> torch.Tensor:
        """Float32 ``[P]``: 1 for each trained parameter that has a gradient in this process, else 0."""
        return torch.tensor([float(value.grad is not None) for value in self.values.values()])

    def fill(self, wanted: torch.Tensor) -> None:
        """Give every parameter with ``wanted [P]`` above 0 a gradient: zeros where this process computed none."""
        for value, needed in zip(self.values.values(), wanted.tolist(), strict=True):
            if needed and value.grad is None:
                value.grad = torch.zeros_like(value)

    def gradients(self) -> Iterator[torch.Tensor]:
        """Float32 gradients that exist, in a fixed order."""
        for value in self.values.values():
            if value.grad is not None:
                yield value.grad

    def drop_gradients(self) -> None:
        """Forget the update's gradients (after a step, or before a replay)."""
        for name, parameter in self.parameters.items():
            parameter.grad = None
            self.values[name].grad = None

    def clip(self, limit: float) -> float:
        """The gradients' global norm; scales them to ``limit`` when it is larger (0: never)."""
        gradients = list(self.gradients())
        if not gradients:
            return 0.0
        norm = torch.nn.utils.get_total_norm(gradients)
        total = float(norm)
        if 0.0 < limit < total:
            torch._foreach_mul_(gradients, limit / total)
        return total

    def set(self, values: Mapping[str, torch.Tensor]) -> None:
        """Replace every master (and what the forward pass reads) by ``values``, which must name them all."""
        if set(values) != set(self.values):
            raise KeyError(f"parameters differ: {sorted(set(values) ^ set(self.values))[:5]}")
        with torch.no_grad():
            for name, value in values.items():
                self.values[name].copy_(value)
        self.publish()

    @property
    def count(self) -> int:
        """Trained parameters."""
        return sum(value.numel() for value in self.values.values())


class _Accumulate:
    """Add a low-precision gradient to the master's float32 gradient and free it."""

    def __init__(self, master: torch.Tensor) -> None:
        self.master = master

    def __call__(self, parameter: torch.Tensor) -> None:
        if parameter.grad is None:
            return
        if self.master.grad is None:
            self.master.grad = parameter.grad.float()
        else:
            self.master.grad.add_(parameter.grad)
        parameter.grad = None


def _float32(parameter: nn.Parameter) -> torch.Tensor:
    return parameter.detach().to(torch.float32, copy=True)
