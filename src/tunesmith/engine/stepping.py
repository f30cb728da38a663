"""Stepping inside the backward pass: each parameter is stepped as soon as its gradient is whole, and the gradient is
let go, so that one gradient at a time is in memory in place of all (Lv et al. 2023, arXiv:2306.09782, section 3.1).

The result is the same, bit for bit: no later part of a backward pass reads a weight whose gradient is complete. What
needs all gradients before a step cannot be had: clipping by their norm, sums over micro-batches or processes, and
penalties.

The trap: the norm is known only afterwards, and a gradient that is no number has then been stepped with. The loss is
looked at before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tunesmith.engine.optimizers import Optimizer
from tunesmith.engine.weights import Weights


class Stepping:
    """Steps ``weights`` with ``optimizer`` while gradients come."""

    def __init__(self, weights: Weights, optimizer: Optimizer) -> None:
        self._weights, self._optimizer = weights, optimizer
        self._group_of = {id(value): group for group in optimizer.param_groups for value in group["params"]}
        self._squares = 0.0

    @contextmanager
    def within(self) -> Iterator[None]:
        """Within it every backward pass is a step of the parameters it reaches."""
        self._squares = 0.0
        hooks = [
            parameter.register_post_accumulate_grad_hook(_Step(self, name))
            for name, parameter in self._weights.parameters.items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def norm(self) -> float:
        """The norm of all gradients since ``within`` was entered."""
        return math.sqrt(self._squares)

    def step(self, name: str) -> None:
        """Step the parameter ``name`` alone, and let its gradient go."""
        parameter, value = self._weights.parameters[name], self._weights.values[name]
        if parameter.dtype == torch.float32:
            value.grad = parameter.grad
        if value.grad is None:
            return
        self._squares += float(value.grad.square().sum())
        groups = self._optimizer.param_groups
        self._optimizer.param_groups = [{**self._group_of[id(value)], "params": [value]}]
        try:
            self._optimizer.step()
        finally:
            self._optimizer.param_groups = groups
        value.grad = parameter.grad = None
        if parameter.dtype != torch.float32:
            with torch.no_grad():
                parameter.copy_(value)


class _Step:
    """A parameter's hook."""

    def __init__(self, stepping: Stepping, name: str) -> None:
        self._stepping, self._name = stepping, name

    def __call__(self, _: nn.Parameter | torch.Tensor) -> None:
        self._stepping.step(self._name)
