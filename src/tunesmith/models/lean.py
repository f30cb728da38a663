"""Leaner forms of a model's own modules: the same numbers in fewer passes over memory, on a CPU.

RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4), as Llama and its relatives write it:

    r = (mean x² + ε)^(−1/2),   y = w ∘ round(r x)
    ∂x = r (g ∘ w) − r³ x · mean((g ∘ w) ∘ x),   ∂w = Σ_rows g ∘ round(r x)

Computed in float32 whatever the dtype, like the original, but a few hundred rows at a time, so that the float32 copies
stay in the processor's cache; backward needs ``x`` and ``r`` only, where the original keeps float32 copies of ``x``.

Which modules have this form is not a list of names: a module is replaced only where its own output and gradient on
random input are met to rounding.

Shape legend: ``n`` rows, ``d`` features; ``x [..., d]``, ``w [d]``, ``r [n, 1]``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

CACHED_ELEMENTS = 2**17
"""Float32 elements worked on at once (512 KiB)."""


def slim(model: nn.Module) -> list[str]:
    """Replace every module of ``model`` that has a leaner form; the paths of those replaced.

    Parameters and the names in ``state_dict`` stay what they were; :func:`unslim` puts the modules back.
    """
    replaced = []
    for path, module in list(model.named_modules()):
        if type(module).__name__.endswith("RMSNorm") and _has_form(module):
            _place(model, path, LeanRMSNorm(module, epsilon=_epsilon(module)))
            replaced.append(path)
    return replaced


def unslim(model: nn.Module) -> None:
    """Undo :func:`slim`."""
    for path, module in list(model.named_modules()):
        if isinstance(module, LeanRMSNorm):
            _place(model, path, module.original)


class LeanRMSNorm(nn.Module):
    """Stands for ``original`` and shares its weight; on other devices than a CPU, and where input and weight differ in
    dtype, it is the original."""

    def __init__(self, original: Any, *, epsilon: float) -> None:
        super().__init__()
        self.weight, self.epsilon = original.weight, epsilon
        # in a list, so that the original is no submodule and adds no names to the state
        self._original = [original]

    @property
    def original(self) -> nn.Module:
        """The module it stands for."""
        return self._original[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., d] -> [..., d]``."""
        if x.device.type != "cpu" or x.dtype != self.weight.dtype:
            return self.original(x)
        return rms_norm(x, self.weight, self.epsilon)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """``w ∘ round(x / rms(x))``, ``[..., d]`` in the dtype of ``x``; differentiable once in ``x`` and ``weight``."""
    y: torch.Tensor = _RMSNorm.apply(x, weight, epsilon)
    return y


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        y = torch.empty_like(rows)
        roots = rows.new_empty(len(rows), 1, dtype=torch.float32)
        for part, wide in _parts(rows):
            wide.copy_(rows[part])
            squares = torch.linalg.vecdot(wide, wide).unsqueeze(1)
            roots[part] = squares.div_(rows.shape[1]).add_(epsilon).rsqrt_()
            y[part] = wide.mul_(roots[part])
        ctx.save_for_backward(rows, weight, roots)
        return y.mul_(weight).view(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        rows, weight, roots = ctx.saved_tensors
        need_x, need_weight, _ = ctx.needs_input_grad
        g = grad.reshape(rows.shape)
        wide_weight = weight.float()
        grad_x = torch.empty_like(rows) if need_x else None
        grad_weight = torch.zeros_like(wide_weight) if need_weight else None
        other = torch.empty(_rows_at_once(rows), rows.shape[1], dtype=torch.float32)
        for part, wide in _parts(rows):
            root, slope = roots[part], other[: len(wide)]
            wide.copy_(rows[part])
            slope.copy_(g[part])
            if grad_weight is not None:
                grad_weight += (wide * root).to(rows.dtype).mul(slope).sum(0)
            if grad_x is not None:
                slope.mul_(wide_weight)
                pull = torch.linalg.vecdot(slope, wide).unsqueeze(1).mul_(root.pow(3)).div_(-rows.shape[1])
                grad_x[part] = slope.mul_(root).add_(wide.mul_(pull))
        grad_x = None if grad_x is None else grad_x.view(grad.shape)
        return grad_x, None if grad_weight is None else grad_weight.to(weight.dtype), None


def _parts(rows: torch.Tensor) -> Any:
    """Slices of ``rows``, each with the same float32 buffer cut to its size."""
    step = _rows_at_once(rows)
    buffer = torch.empty(step, rows.shape[1], dtype=torch.float32)
    for start in range(0, len(rows), step):
        part = slice(start, min(start + step, len(rows)))
        yield part, buffer[: part.stop - part.start]


def _rows_at_once(rows: torch.Tensor) -> int:
    return max(1, min(len(rows), CACHED_ELEMENTS // rows.shape[1]))


def _epsilon(module: Any) -> float:
    """0 where the module does not say."""
    return float(getattr(module, "variance_epsilon", getattr(module, "eps", None)) or 0.0)


def _has_form(module: Any) -> bool:
    """Whether the module's own forward and backward are those of :func:`rms_norm`, to rounding."""
    weight, epsilon = getattr(module, "weight", None), _epsilon(module)
    if not isinstance(weight, nn.Parameter) or weight.ndim != 1 or epsilon <= 0.0:
        return False
    if [name for name, _ in module.named_parameters()] != ["weight"] or module._forward_hooks:
        return False
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(2, 5, len(weight), generator=generator).to(weight.device)
    draw[0] *= torch.tensor([[1.0], [1e-3], [30.0], [1e-5], [0.0]], device=weight.device)  # small rows show another ε
    x, upstream = draw[0].to(weight.dtype).requires_grad_(), draw[1].to(weight.dtype)
    with torch.enable_grad():
        pairs = [
            (y.detach(), torch.autograd.grad(y, x, upstream)[0]) for y in (module(x), rms_norm(x, weight, epsilon))
        ]
    return all(_close(theirs, ours) for theirs, ours in zip(*pairs, strict=True))


def _close(theirs: torch.Tensor, ours: torch.Tensor) -> bool:
    bound = 4 * torch.finfo(theirs.dtype).eps
    return theirs.dtype == ours.dtype and torch.allclose(theirs.double(), ours.double(), rtol=bound, atol=bound)


def _place(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
