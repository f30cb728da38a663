"""The adapted linears of one transformer block, ours beside PEFT's: time, bytes kept for backward, bytes at the peak.

    python benchmarks/lora_layer.py [--kinds lora,dora] [--width 512] [--rows 2048] [--rank 16] [--rounds 30] [--json]

The block is q, k, v (one input), o, gate and up (one input) and down, as in a Llama; nothing but these layers is run.
Both compute in one dtype (PEFT with ``autocast_adapter_dtype=False``) on equal weights, forward and backward; without
dropout all outputs and gradients are compared before anything is timed. Rounds of ours and PEFT's take turns; times are
medians of the thread's CPU time. *Kept* are the bytes of distinct storages seen by
``saved_tensors_hooks``, parameters not counted: with the inputs, which a model holds for several layers, and without
them. *Peak* are the most bytes alive at once that operations of one pass have produced. Ratios are ours to PEFT's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tunesmith.methods.lora import Lora

INPUTS = {"q": "x", "k": "x", "v": "x", "o": "attended", "gate": "z", "up": "z", "down": "inner"}
"""Layer -> the tensor it reads."""


class Alive(TorchDispatchMode):
    """Counts the bytes of storages that operations made and that are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage().data_ptr() for t in args if isinstance(t, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage(), given)
        return out

    def _add(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        pointer, size = storage.data_ptr(), storage.nbytes()
        if pointer in self.seen or pointer in given:
            return
        self.seen.add(pointer)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, pointer, size)

    def _drop(self, pointer: int, size: int) -> None:
        self.seen.discard(pointer)
        self.now -= size


def shapes(width: int) -> dict[str, tuple[int, int]]:
    """Layer -> (in, out), in a Llama's proportions."""
    inner = width * 43 // 16
    return {
        "q": (width, width),
        "k": (width, width // 2),
        "v": (width, width // 2),
        "o": (width, width),
        "gate": (width, inner),
        "up": (width, inner),
        "down": (inner, width),
    }


def block(width: int, dtype: torch.dtype) -> nn.ModuleDict:
    """The block's bare linears, frozen."""
    torch.manual_seed(0)
    layers = {name: nn.Linear(*shape, bias=False) for name, shape in shapes(width).items()}
    return nn.ModuleDict(layers).to(dtype).requires_grad_(False)


def pair(kind: str, dropout: float, dtype: torch.dtype, options: argparse.Namespace) -> tuple[nn.Module, nn.Module]:
    """Our adapted block and PEFT's, with equal values that are not those of the start."""
    ours, theirs = block(options.width, dtype), block(options.width, dtype)
    names, dora, rank = list(INPUTS), kind == "dora", options.rank
    Lora(rank=rank, alpha=2 * rank, dropout=dropout, dora=dora, targets=names).attach(ours)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=dropout, use_dora=dora, target_modules=names)
    inject_adapter_in_model(config, theirs).to(dtype)
    with torch.no_grad():
        for name in names:
            mine, other = ours[name], theirs[name]
            mine.lora_B.normal_(std=0.02)
            other.lora_A["default"].weight.copy_(mine.lora_A)
            other.lora_B["default"].weight.copy_(mine.lora_B)
            if dora:
                mine.lora_magnitude_vector.weight.mul_(1.1)
                other.lora_magnitude_vector["default"].weight.copy_(mine.lora_magnitude_vector.weight)
    return ours.train(), theirs.train()


class Pass:
    """One forward and backward pass of a block."""

    def __init__(self, layers: nn.Module, dtype: torch.dtype, options: argparse.Namespace) -> None:
        generator = torch.Generator().manual_seed(1)
        self.layers, sizes = layers, shapes(options.width)

        def rows(width: int) -> torch.Tensor:
            return torch.randn(options.rows, width, generator=generator).to(dtype)

        self.inputs = {name: rows(sizes[layer][0]).requires_grad_() for layer, name in INPUTS.items()}
        self.upstream = [rows(sizes[layer][1]) for layer in INPUTS]

    def forward(self) -> list[torch.Tensor]:
        """Outputs of all layers."""
        return [self.layers[layer](self.inputs[name]) for layer, name in INPUTS.items()]

    def __call__(self) -> list[torch.Tensor]:
        """Forward and backward."""
        self.layers.zero_grad()
        for tensor in self.inputs.values():
            tensor.grad = None
        outputs = self.forward()
        torch.autograd.backward(outputs, self.upstream)
        return outputs

    def kept(self) -> tuple[int, int]:
        """Bytes kept for backward besides parameters: with the inputs, without them."""
        weights = {parameter.untyped_storage().data_ptr() for parameter in self.layers.parameters()}
        inputs = {tensor.untyped_storage().data_ptr() for tensor in self.inputs.values()}
        found: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outputs = self.forward()
        del outputs
        every = {pointer: size for pointer, size in found.items() if pointer not in weights}
        return sum(every.values()), sum(size for pointer, size in every.items() if pointer not in inputs)

    def peak(self) -> int:
        """Most bytes alive at once that this pass's operations made."""
        self()
        with Alive() as alive:
            self()
        return alive.peak


def alternating(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median milliseconds of CPU time of both, measured in turns so that a busy machine slows both."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 3):
        order = ((first, times[0]), (second, times[1]))
        for run, taken in order if number % 2 else reversed(order):
            start = time.thread_time()
            run()
            taken.append((time.thread_time() - start) * 1e3)
    return statistics.median(times[0][3:]), statistics.median(times[1][3:])


def check_equal(mine: Pass, other: Pass, dtype: torch.dtype) -> None:
    """Outputs and gradients of the inputs agree."""
    bound = 0.1 if dtype == torch.bfloat16 else 1e-4
    outputs = zip(mine(), other(), strict=True)
    gradients = ((tensor.grad, other.inputs[name].grad) for name, tensor in mine.inputs.items())
    for left, right in [*outputs, *gradients]:
        torch.testing.assert_close(left, right, atol=bound * float(right.detach().abs().max()), rtol=bound)


def compare(kind: str, dtype: torch.dtype, dropout: float, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    mine, other = (Pass(layers, dtype, options) for layers in pair(kind, dropout, dtype, options))
    if not dropout:
        check_equal(mine, other, dtype)
    ours_ms, peft_ms = alternating(mine, other, options.rounds)
    (ours_kept, ours_own), (peft_kept, peft_own) = mine.kept(), other.kept()
    return {
        "kind": kind,
        "dtype": str(dtype).removeprefix("torch."),
        "dropout": dropout,
        "ours_ms": round(ours_ms, 1),
        "peft_ms": round(peft_ms, 1),
        "speed": round(peft_ms / ours_ms, 3),
        "kept": round(ours_kept / peft_kept, 3),
        "kept_besides_inputs": round(ours_own / peft_own, 3),
        "peak": round(mine.peak() / other.peak(), 3),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", default="lora,dora")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kinds = options.kinds.split(",")
    cases = [(kind, d, p) for kind in kinds for d in (torch.float32, torch.bfloat16) for p in (0.0, 0.1)]
    rows = []
    for case in cases:
        rows.append(compare(*case, options))
        if not options.json:
            if len(rows) == 1:
                print(
                    "  ".join(f"{name:>9}" for name in rows[0]), "  (speed: PEFT's time to ours; bytes: ours to PEFT's)"
                )
            print("  ".join(f"{value!s:>{max(9, len(name))}}" for name, value in rows[-1].items()), flush=True)
    if options.json:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
