"""What the parents of all comparisons share: material made once, gates remembered, speeds, ratios, the report's words.

No torch is imported here: a child's peak memory never reads below its parent's at the fork (see ``child``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.child import run
from sidebyside.gate import Check

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / ".cache" / "bench"
QUIET = 0.95
"""Share of a core that every child must have had for wall-clock ratios to be reported."""


def common_arguments(doc: str | None) -> argparse.ArgumentParser:
    """The command line of every comparison."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=1, help="interleaved repetitions")
    return parser


def real_rows(path: str) -> Path | None:
    """The file ``path`` of ``TUNESMITH_TEST_DATA``, where that is set."""
    folder = os.environ.get("TUNESMITH_TEST_DATA")
    file = Path(folder) / path if folder else None
    return file if file and file.is_file() else None


def begun(name: str) -> tuple[Path, dict[str, Any]]:
    """The folder ``name`` to work in, and what there is to say about this machine."""
    work = CACHE / name
    work.mkdir(parents=True, exist_ok=True)
    return work, run("machine", "about", work=work, gpu=True)


def prepared(maker: str, data: Path | None, work: Path, *more: str) -> Path:
    """The folder that ``sidebyside.<maker>`` makes of ``data`` with the options ``more``, made once."""
    sources = [HERE.joinpath(f"{name}.py").read_bytes() for name in sorted({"material", maker})]
    rows = data.read_bytes() if data else b"generated"
    folder = CACHE / f"material-{digest(*sources, rows, *map(str.encode, more))}"
    if not (folder / "done").is_file():
        say("making model, adapter and rows")
        run(maker, str(folder), *([str(data.resolve())] if data else []), *more, work=work)
        (folder / "done").touch()
    return folder


def code(material: Path, about: Mapping[str, Any]) -> str:
    """A digest of all that decides the result: the sources of both sides, the material, the versions."""
    sources = sorted([*(ROOT / "src").rglob("*.py"), *HERE.glob("*.py")])
    versions = json.dumps(about["versions"], sort_keys=True).encode()
    return digest(material.name.encode(), versions, *(source.read_bytes() for source in sources))


def gated(measured: str, check: Callable[[], Sequence[Check]], *, again: bool) -> list[dict[str, Any]]:
    """What ``check`` finds; where it passed before for the code ``measured``, that is read from the cache."""
    file = CACHE / f"gate-{measured}.json"
    if file.is_file() and not again:
        say("gate: passed before for this code, material and these versions")
        found: list[dict[str, Any]] = json.loads(file.read_text())
        return found
    found = [one.as_dict() for one in check()]
    if all(one["passed"] for one in found):
        file.write_text(json.dumps(found, indent=2))
    return found


def share(one: Mapping[str, Any], first: int) -> float:
    """CPU time over wall time of a child's updates from ``first`` on: 1 on a quiet machine."""
    return sum(one["cpu"][first:]) / sum(one["seconds"][first:])


def rate(one: Mapping[str, Any], what: str, clock: str, first: int) -> float:
    """``what`` a second of a child's updates from ``first`` on, by ``clock`` (wall or cpu)."""
    seconds = "seconds" if clock == "wall" else "cpu"
    return sum(one[what][first:]) / sum(one[seconds][first:])


def clock_of(least: float) -> str:
    """The clock that can be trusted where children had at least the share ``least`` of a core."""
    return "wall" if least >= QUIET else "cpu"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def digest(*parts: bytes) -> str:
    """A short name for contents."""
    found = hashlib.blake2b(digest_size=10)
    for part in parts:
        found.update(hashlib.blake2b(part).digest())
    return found.hexdigest()


def commit() -> str:
    """The commit that was measured, with ``-dirty`` where the tree was changed."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def show_gate(report: Mapping[str, Any]) -> None:
    """The gate's checks, one a line."""
    for check in report["gate_checks"]:
        mark = "ok  " if check["passed"] else "FAIL"
        print(f"{mark} {check['name']:<44} {check['measured']:.2e}  (bound {check['bound']:.0e})")


def show_bars(report: Mapping[str, Any], bars: Mapping[str, float | None]) -> None:
    """What was measured beside the bars, where there are any."""
    by = "wall clock" if report["clock"] == "wall" else "CPU time: other programs were running"
    print(f"\n{'':<28}{'measured':>10}{'bar':>8}      (by {by})")
    for name, bar in bars.items():
        print(f"{name:<28}{report[name]:>10.3f}{'' if bar is None else bar:>8}")


def printed(report: Mapping[str, Any], *, as_json: bool, show: Callable[[Mapping[str, Any]], None]) -> int:
    """Print ``report`` as one JSON object or by ``show``; the exit code, 1 where its gate failed."""
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
    return 0 if report["gate"] else 1


def say(text: str) -> None:
    """Progress, for people."""
    print(text, file=sys.stderr, flush=True)
