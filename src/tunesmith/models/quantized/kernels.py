"""bitsandbytes' dequantization, used where it is installed, gives our very bits and is faster by measurement.

Bits come first, so whether the extra is there changes time and never a result.

Traps: on processors with AVX-512 bitsandbytes' kernel takes scales from the wrong blocks where the length of a weight's
rows is not a multiple of the block, so it is always asked for the shape ``[blocks, block]``; and its bfloat16 values
below 1.2e-38 are zero, ours are not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from tunesmith.models.quantized.codebook import Codebook

Dequantize = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""``packed`` uint8 ``[n / 2]``, ``absmax`` float32 ``[n / block]`` -> values ``[n]``."""
_VALUES = 2**20


@cache
def chosen(codebook: Codebook, device: str, dtype: torch.dtype) -> Dequantize | None:
    """bitsandbytes' kernel for this kind of device, or None where ours is to be used; measured once a process."""
    if codebook.kernel is None or dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return None
    operation = _operation()
    if operation is None:
        return None

    def theirs(packed: torch.Tensor, absmax: torch.Tensor) -> torch.Tensor:
        shape = (absmax.numel(), codebook.block)
        return operation(packed, absmax, codebook.block, codebook.kernel, shape, dtype).view(-1)

    # every byte and scales of all sizes; no random numbers, which belong to the run
    packed = (torch.arange(_VALUES // 2) * 167 // 64).to(torch.uint8).to(device)
    absmax = torch.logspace(-6, 3, _VALUES // codebook.block, dtype=torch.float32).to(device)
    if not torch.equal(theirs(packed, absmax), codebook.look_up(packed, absmax).to(dtype)):
        return None
    room = torch.empty(_VALUES, dtype=dtype, device=device)
    ours = _seconds(lambda: room.copy_(codebook.look_up(packed, absmax)), device)
    return theirs if _seconds(lambda: room.copy_(theirs(packed, absmax)), device) < ours else None


def _operation() -> Any:
    """``bitsandbytes::dequantize_4bit``; None without it, or where importing it would fetch kernels from a hub."""
    if find_spec("bitsandbytes") is None or find_spec("kernels") is not None:
        return None
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")  # tells on import that the hub's kernels are missing
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import bitsandbytes  # noqa: F401 - registers the operation
    except (ImportError, OSError, RuntimeError):
        return None
    finally:
        logger.setLevel(before)
    return torch.ops.bitsandbytes.dequantize_4bit.default


def _seconds(call: Callable[[], object], device: str) -> float:
    """The best of five."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best
