"""Which number format is fastest here, measured once: bf16 is 4× fp32 on one CPU and 100× slower on another."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

SIZE = 512


@dataclass(frozen=True)
class Speeds:
    """Matrix-product rates of one thread pool in FLOP/s; 0 where a format was not tried."""

    float32: float
    bfloat16: float


@lru_cache(maxsize=4)
def speeds(device: str = "cpu") -> Speeds:
    """Measure both formats on ``512×512`` products (some 20 ms; fp16 is never tried on a CPU: it can take minutes)."""
    return Speeds(_rate(torch.float32, device), _rate(torch.bfloat16, device))


def choose(wanted: str, model_dtype: Any, device: str = "cpu") -> torch.dtype:
    """The compute dtype: what the recipe names, else bfloat16 where it wins by half and float32 otherwise."""
    if wanted != "auto":
        named: torch.dtype = getattr(torch, wanted)
        return named
    if model_dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return torch.float32
    measured = speeds(device)
    return torch.bfloat16 if measured.bfloat16 > 1.5 * measured.float32 else torch.float32


def _rate(dtype: torch.dtype, device: str) -> float:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIZE, SIZE, generator=generator).to(device, dtype) for _ in range(2))
    best = float("inf")
    left @ right
    for _ in range(5):
        _wait(device)
        start = time.perf_counter()
        left @ right
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * SIZE**3 / best


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
