"""Cells: training runs of a comparison, each in a process of its own, found again when they are done.

A cell is known by the content of its recipe and by the code's version, so a comparison that was stopped, or is asked
again with one method more, trains only what is new. A process a cell also makes its peak memory its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tunesmith import __version__
from tunesmith.engine.sinks.jsonl import read
from tunesmith.files import write_json, write_text
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import dump

Say = Callable[[str], None]
STOPPED = (130, -2)
"""Exit codes of a run that Ctrl-C ended, by its own words or by the signal."""
LAST_WORDS = 1500
"""Characters of a failed run's own words that are kept."""


@dataclass(frozen=True)
class Cell:
    """One training run: what it is called in words, and its recipe."""

    title: str
    recipe: Recipe

    @property
    def key(self) -> str:
        """Digest of everything its result depends on besides the machine; its name and title are not."""
        content = dump(self.recipe.model_copy(update={"name": "cell"}))
        return hashlib.sha256(f"{__version__}\n{content}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Done:
    """What a cell gave: its ``report.json`` and ``eval/after.json``; a failed one has ``error`` instead."""

    cell: Cell
    report: dict[str, Any]
    after: dict[str, Any]
    error: str | None = None

    @property
    def why(self) -> str:
        """What went wrong, in a line."""
        lines = (self.error or "").splitlines() or [""]
        return next((line for line in reversed(lines) if line.startswith("error:") or "Error" in line), lines[-1])


def run_cells(cells: Sequence[Cell], folder: Path, *, jobs: int = 1, say: Say = lambda _: None) -> list[Done]:
    """Run every cell that is not yet done, ``jobs`` at a time, and return all results in the order of ``cells``.

    A failed cell is reported and does not stop the others; it is tried again by the next call.
    """
    count = len(cells)

    def one(numbered: tuple[int, Cell]) -> Done:
        number, cell = numbered
        found = _kept(cell, folder)
        if found is not None:
            return found
        say(f"[{number + 1}/{count}] {cell.title}")
        done = _run(cell, folder)
        if done.error:
            say(f"[{number + 1}/{count}] {cell.title}: {done.why}")
        return done

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, enumerate(cells)))


def _kept(cell: Cell, folder: Path) -> Done | None:
    try:
        stored = json.loads((folder / f"{cell.key}.json").read_text(encoding="utf-8"))
        return Done(cell, stored["report"], stored["after"])
    except (OSError, ValueError, KeyError):
        return None


def _run(cell: Cell, folder: Path) -> Done:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cell-", dir=folder) as name:
        scratch = Path(name)
        write_text(scratch / "recipe.yaml", dump(cell.recipe))
        command = [sys.executable, "-m", "tunesmith", "train", str(scratch / "recipe.yaml")]
        command += ["--out", str(scratch / "run"), "--json"]
        threads = str(cell.recipe.model.threads or 1)
        environment = os.environ | {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode in STOPPED:
            return Done(cell, {}, {}, error="stopped")
        if done.returncode != 0:
            return Done(cell, {}, {}, error=(done.stderr.strip() or f"exit code {done.returncode}")[-LAST_WORDS:])
        report = json.loads((scratch / "run" / "report.json").read_text(encoding="utf-8"))
        after = json.loads((scratch / "run" / "eval" / "after.json").read_text(encoding="utf-8"))
        report["artifact_bytes"] = _size(scratch / "run")
        report |= _speed(scratch / "run")
        report.pop("run", None)
        write_json(folder / f"{cell.key}.json", {"title": cell.title, "report": report, "after": after})
        shutil.rmtree(scratch / "run", ignore_errors=True)
    return Done(cell, report, after)


def _speed(run: Path) -> dict[str, float]:
    """FLOPs a token, and tokens a second of the median update: other work on the machine slows some of them.

    Nothing where the run has stages, each of which has its own.
    """
    events = read(run / "events.jsonl")
    speeds = [event["tokens"] / event["seconds"] for event in events if event["kind"] == "step"]
    counts = [event["flops_per_token"] for event in events if event["kind"] == "start"]
    return {"flops_per_token": counts[0], "tokens_per_second": median(speeds)} if speeds else {}


def _size(run: Path) -> int:
    """Bytes of what the run would ship."""
    kinds = [path for path in (run / "adapter", run / "model") if path.is_dir()]
    return sum(file.stat().st_size for kind in kinds for file in kind.rglob("*") if file.is_file())
