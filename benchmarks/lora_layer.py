"""One LoRA linear, ours beside PEFT's: forward and backward time, bytes kept for backward, bytes of temporaries.

    python benchmarks/lora_layer.py [--rows 2048] [--rank 16] [--repeats 30] [--json]

Both compute in one dtype (PEFT with ``autocast_adapter_dtype=False``) and have equal values; outputs and gradients are
compared before anything is timed. Kept bytes are those of distinct storages seen by ``saved_tensors_hooks``, weights
not counted; written bytes are those of all tensors that operations produce in one forward and backward pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tunesmith.methods.lora import Lora, LoraLinear

SHAPES = [(512, 512), (512, 1376), (1376, 512)]


class Written(TorchDispatchMode):
    """Counts the bytes of new storages."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, torch.UntypedStorage] = {}
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in self.seen:
                storage = tensor.untyped_storage()
                self.seen[storage.data_ptr()] = storage  # held, so that no address is used twice
                self.bytes += storage.nbytes()
        return out


def pair(shape: tuple[int, int], rank: int, dropout: float, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """Our layer and PEFT's on equal weights."""
    width, out = shape
    torch.manual_seed(0)
    holder = nn.Sequential(nn.Linear(width, out, bias=False)).to(dtype).requires_grad_(False)
    ours = LoraLinear(holder[0], Lora(rank=rank, alpha=2 * rank, dropout=dropout))
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=dropout, target_modules=["0"])
    theirs = inject_adapter_in_model(config, holder)[0].to(dtype)
    with torch.no_grad():
        ours.lora_B.normal_(std=0.02)
        theirs.lora_A["default"].weight.copy_(ours.lora_A)
        theirs.lora_B["default"].weight.copy_(ours.lora_B)
    return ours, theirs


def step(layer: nn.Module, x: torch.Tensor, upstream: torch.Tensor) -> Callable[[], torch.Tensor]:
    """One forward and backward pass; gives the output."""

    def run() -> torch.Tensor:
        x.grad = None
        layer.zero_grad()
        y: torch.Tensor = layer(x)
        y.backward(upstream)
        return y

    return run


def kept(layer: nn.Module, x: torch.Tensor) -> int:
    """Bytes kept for backward, besides weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    return sum(size for pointer, size in found.items() if pointer not in weights)


def alternating(first: Callable[[], Any], second: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median milliseconds of CPU time of both, measured in turns so that a busy machine slows both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 3):
        for run, taken in zip((first, second), times, strict=True):
            start = time.process_time()
            run()
            taken.append((time.process_time() - start) * 1e3)
    return statistics.median(times[0][3:]), statistics.median(times[1][3:])


def compare(shape: tuple[int, int], dtype: torch.dtype, dropout: float, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    ours, theirs = pair(shape, options.rank, dropout, dtype)
    x = torch.randn(options.rows, shape[0]).to(dtype).requires_grad_()
    upstream = torch.randn(options.rows, shape[1]).to(dtype)
    runs = step(ours, x, upstream), step(theirs, x, upstream)
    if not dropout:
        results = [(run().detach(), x.grad) for run in runs]
        bound = 0.2 if dtype == torch.bfloat16 else 1e-4
        for mine, other in zip(*results, strict=True):
            torch.testing.assert_close(mine, other, atol=bound, rtol=bound)
    written = []
    for run in runs:
        with Written() as count:
            run()
        written.append(count.bytes)
    mine, other = alternating(*runs, options.repeats)
    return {
        "shape": "x".join(map(str, shape)),
        "dtype": str(dtype).removeprefix("torch."),
        "dropout": dropout,
        "ours_ms": round(mine, 2),
        "peft_ms": round(other, 2),
        "speed": round(other / mine, 3),
        "kept": round(kept(ours, x) / kept(theirs, x), 3),
        "written": round(written[0] / written[1], 3),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [(s, d, p) for d in (torch.float32, torch.bfloat16) for p in (0.0, 0.1) for s in SHAPES]
    rows = [compare(*case, options) for case in cases]
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    print("  ".join(f"{name:>9}" for name in rows[0]), "  (speed, kept, written: ours to PEFT's)")
    for row in rows:
        print("  ".join(f"{value!s:>9}" for value in row.values()))


if __name__ == "__main__":
    main()
