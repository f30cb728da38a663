"""Fresh processes: one for each measurement, each with one thread, each printing one JSON line.

The parent must stay small (no torch): on Linux a child's peak memory never reads below its parent's at the fork.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
WORDLESS = {"TRANSFORMERS_VERBOSITY": "error", "DATASETS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass
class Steps:
    """What a child says of its training, a value an update: ``loss``, gradient ``norm`` before clipping, real
    ``tokens``, wall ``seconds``, ``cpu`` seconds, useful ``flops``; ``peak`` is the process's peak memory in bytes."""

    loss: list[float] = field(default_factory=list)
    norm: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    flops: list[float] = field(default_factory=list)
    peak: int = 0
    about: dict[str, Any] = field(default_factory=dict)

    def say(self) -> None:
        """Print it as the child's last line."""
        self.peak = peak_memory()
        print(json.dumps(asdict(self)), flush=True)


def run(module: str, *arguments: str, work: Path, gpu: bool = False) -> dict[str, Any]:
    """Run ``python -m sidebyside.<module>`` in a fresh process, which sees a GPU only with ``gpu``; what its last line
    says."""
    paths = [str(HERE), str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        **OFFLINE,
        **WORDLESS,
        **THREADS,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "TUNESMITH_CACHE": str(work / "tunesmith"),
        **({} if gpu else {"CUDA_VISIBLE_DEVICES": ""}),
    }
    command = [sys.executable, "-m", f"sidebyside.{module}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=work, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines else {}


def peak_memory() -> int:
    """Bytes of this process's peak memory: on the GPU where it used one, else resident."""
    import resource

    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What ``work`` returns, its wall seconds and its CPU seconds; on a GPU all that was begun is waited for."""
    torch = sys.modules.get("torch")
    finish = torch.cuda.synchronize if torch is not None and torch.cuda.is_available() else lambda: None
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    finish()
    return result, time.perf_counter() - wall, time.process_time() - cpu
