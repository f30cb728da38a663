"""Methods on a sharded base: two processes hold half of every layer each, and gradients are those of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PARTS: list[dict[str, Any]] = [
    {"name": "lora", "rank": 4},
    {"name": "lora", "rank": 4, "dora": True},
    {"name": "lora", "rank": 4, "init": "pissa"},
    {"name": "adalora"},
    {"name": "ia3"},
    {"name": "adapter"},
    {"name": "bitfit", "add": True},
    {"name": "prompt", "tokens": 4},
    {"name": "p-tuning-v2", "tokens": 4},
]


@pytest.mark.slow
def test_a_sharded_base_gives_the_same_gradients() -> None:
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "localhost:0", str(here / "sharded.py"), json.dumps(PARTS)]
    paths = os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("found "))
    found = json.loads(line.removeprefix("found "))
    assert len(found) == len(PARTS)
    for part, one in zip(PARTS, found, strict=True):
        # both processes see the same rows, so the mean of their gradients is exact
        assert one["missing"] == 0, part
        assert max(one["loss"], one["worst"]) <= 1e-6, (part, one)
