"""The machine under the numbers: bf16 matrix-product rate on one thread or the GPU, memory floor of imports, versions.

python -m sidebyside.machine rate | floor-ours | floor-trl | floor-transformers | about
"""

from __future__ import annotations

import importlib.util
import json
import platform
import statistics
import sys
from importlib.metadata import version
from typing import Any

from sidebyside.child import peak_memory, timed

TOKENS = 2048
SHAPES = {"1024x1024x1024": (1024, 1024, 1024), "mlp up": (TOKENS, 512, 1408), "mlp down": (TOKENS, 1408, 512),
          "query": (TOKENS, 512, 512), "head": (TOKENS, 512, 16_000)}  # fmt: skip
"""``(m, k, n)`` of a product ``[m, k] · [k, n]``: a plain cube and the model's own."""
PACKAGES = ("torch", "transformers", "peft", "trl", "datasets", "accelerate")
LLAMA = "transformers.models.llama.modeling_llama"
IMPORTS = {
    "floor-ours": ("tunesmith.run.session", "tunesmith.run.rows", "tunesmith.engine.loop", LLAMA),
    "floor-trl": ("datasets", "peft", "trl.trainer.sft_trainer", LLAMA),
    "floor-transformers": ("datasets", "peft", "transformers.trainer", LLAMA),
}
OTHERS = {"unsloth": "Unsloth", "llamafactory": "LLaMA-Factory"}
"""Packages of libraries that train on a GPU only -> their names."""


def rates(repeats: int = 9) -> dict[str, dict[str, float]]:
    """GFLOP/s of each shape in bf16 on random data: median by wall clock and by CPU time."""
    import torch

    torch.set_num_threads(1)
    gpu = torch.cuda.is_available()
    device, shapes = ("cuda", {"8192x8192x8192": (8192,) * 3}) if gpu else ("cpu", SHAPES)
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, (m, k, n) in shapes.items():
        left, right = (torch.randn(rows, k, generator=generator).to(device, torch.bfloat16) for rows in (m, n))
        out = torch.empty(m, n, dtype=torch.bfloat16, device=device)
        once = max(1, round((2e14 if gpu else 2e10) / (2 * m * k * n)))

        def work(left: Any = left, right: Any = right, out: Any = out, once: int = once) -> None:
            for _ in range(once):
                torch.mm(left, right.t(), out=out)

        work()
        runs = [timed(work)[1:] for _ in range(repeats)]
        gflop = 2e-9 * m * k * n * once
        found[name] = {"wall": gflop / statistics.median(wall for wall, _ in runs),
                       "cpu": gflop / statistics.median(cpu for _, cpu in runs)}  # fmt: skip
    return found


def floor(which: str) -> dict[str, int]:
    """Peak memory of a process that has imported one side and done nothing."""
    for module in IMPORTS[which]:
        importlib.import_module(module)
    return {"peak": peak_memory()}


def about() -> dict[str, Any]:
    """Processor, GPU, system, versions, and which other libraries are not compared with, and why."""
    import torch

    from tunesmith.run.environment import processor

    return {
        "processor": processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": 1,
        "versions": {name: version(name) for name in PACKAGES},
        "not_compared": {name: why_not(package) for package, name in OTHERS.items()},
    }


def why_not(package: str) -> str:
    """Why there is no side for a library."""
    here = importlib.util.find_spec(package) is not None
    return "no side of it was ever run here, so none is written" if here else "it is not installed"


if __name__ == "__main__":
    asked = sys.argv[1]
    print(json.dumps(rates() if asked == "rate" else about() if asked == "about" else floor(asked)))
