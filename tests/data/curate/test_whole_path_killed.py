"""Cleaning, deduplication, decontamination and tokens: killed at moments all along the way, the same bytes come out."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rensa", reason="the near-dedup step needs the `curate` extra")
SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "scale.py"
ROWS = 6000
MOMENTS = ("(pass 1", "(pass 2", "(pass 3", "tokenising", "packing")


def started(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(SCRIPT), "--one", str(ROWS), "--folder", str(folder), "--processes", "2"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_killed_at_moments_all_along_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    whole, _ = started(tmp_path / "whole").communicate()
    chance, killed = random.Random(0), 0
    for moment in MOMENTS:
        process = started(tmp_path / "killed")
        assert process.stderr is not None
        for line in process.stderr:
            if moment in line:
                time.sleep(chance.uniform(0.0, 1.5))  # somewhere inside of the pass
                killed += process.poll() is None
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.communicate()
    resumed, _ = started(tmp_path / "killed").communicate()
    one, other = json.loads(whole), json.loads(resumed)
    assert killed >= 3
    same = ("rows", "kept", "dropped", "tokens", "digest")
    assert {key: one[key] for key in same} == {key: other[key] for key in same}
    assert one["rows"] == ROWS
    assert 0.07 * ROWS < one["dropped"] < 0.15 * ROWS
