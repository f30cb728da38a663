"""Tunesmith and TRL + PEFT side by side: the same LoRA training of a 32M-parameter Llama on one CPU thread.

    python benchmarks/sft_vs_trl.py [--json] [--rounds 3] [--data alpaca.json]        (needs the extra `peers`)

Sixteen sequences an update, at most 512 tokens, LoRA rank 16 on all linears, AdamW at 2e-4, clipping at 1; the same
base, rows and first adapter. First the equality gate (`sidebyside/gate.py`): where it fails nothing is timed. Then
rounds of TRL as it comes, TRL as an expert sets it, and Tunesmith as it comes, each in a fresh process with one
thread, and the machine's own bf16 matrix-product rate in the same round. Real tokens only are counted; the first
update of each process is warm-up. Ratios are of medians over rounds. They are by wall clock where the machine was quiet
and by CPU time where other programs took more than a twentieth of any child's time (`clock` says which; both are in the
report), because wall-clock ratios of starved processes mean nothing. Memory is the peak resident memory of each
process, imports included.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.child import run
from sidebyside.gate import checks

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
BATCH = 16
SIDES = {
    "default": ("peer", {"setting": "default", "order": "sequential"}),
    "expert": ("peer", {"setting": "expert", "order": "group_by_length"}),
    "ours": ("ours", {"dtype": "auto"}),
}
UPDATES = {"default": 4, "expert": 15, "ours": 15}
"""Updates of a process. Fifteen are one whole group of the expert's length grouping, which starts with its longest rows
and ends with its shortest."""
QUIET = 0.95
"""Share of a core that every child must have had for wall-clock ratios to be reported."""
BARS = {"vs_default": 5.5, "vs_expert": 2.0, "memory_vs_default": 0.7, "memory_vs_expert": 0.5, "useful_fraction": 0.42}


def main() -> int:
    """Exit code 1 where the gate fails."""
    options = arguments()
    work = CACHE / "work"
    work.mkdir(parents=True, exist_ok=True)
    about = run("machine", "about", work=work)
    material = prepared(options.data, work)
    measured = code(material, about)
    gate = gated(material, measured, work, again=options.gate_again)
    passed = all(check["passed"] for check in gate)
    report: dict[str, Any] = {"gate": passed}
    if passed and not options.gate_only:
        report |= timings(material, work, options.rounds)
    if code(material, about) != measured:
        raise SystemExit("the code changed while it was measured: what was timed is not what passed the gate")
    report |= {"gate_checks": gate, "commit": commit(), "data": str(options.data or "generated"), **about}
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
    return 0 if passed else 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved repetitions")
    parser.add_argument("--data", type=Path, default=real_rows(), help="a JSON list of alpaca rows")
    parser.add_argument("--gate-only", action="store_true", help="stop after the equality gate")
    parser.add_argument("--gate-again", action="store_true", help="run the gate even if it passed for this code before")
    return parser.parse_args()


def real_rows() -> Path | None:
    """The alpaca rows of ``TUNESMITH_TEST_DATA``, where that is set."""
    folder = os.environ.get("TUNESMITH_TEST_DATA")
    file = Path(folder) / "sft" / "alpaca_en_demo.json" if folder else None
    return file if file and file.is_file() else None


def prepared(data: Path | None, work: Path) -> Path:
    """The folder of model, adapter and rows, made once for this data and maker."""
    maker = (Path(__file__).parent / "sidebyside" / "material.py").read_bytes()
    folder = CACHE / f"material-{digest(maker, data.read_bytes() if data else b'generated')}"
    if not (folder / "done").is_file():
        say("making model, adapter and rows")
        run("material", str(folder), *([str(data.resolve())] if data else []), work=work)
        (folder / "done").touch()
    return folder


def code(material: Path, about: Mapping[str, Any]) -> str:
    """A digest of all that decides the result: the sources of both sides, the material, the versions."""
    sources = sorted([*(ROOT / "src").rglob("*.py"), *Path(__file__).parent.joinpath("sidebyside").glob("*.py")])
    versions = json.dumps(about["versions"], sort_keys=True).encode()
    return digest(material.name.encode(), versions, *(source.read_bytes() for source in sources))


def gated(material: Path, measured: str, work: Path, *, again: bool) -> list[dict[str, Any]]:
    """The gate's checks; those of the same code, material and versions are read from the cache."""
    file = CACHE / f"gate-{measured}.json"
    if file.is_file() and not again:
        say("gate: passed before for this code, material and these versions")
        return json.loads(file.read_text())
    found = [check.as_dict() for check in checks(material, work, batch=BATCH, say=say)]
    if all(check["passed"] for check in found):
        file.write_text(json.dumps(found, indent=2))
    return found


def timings(material: Path, work: Path, rounds: int) -> dict[str, Any]:
    """Interleaved rounds of the three sides and the matrix-product rate; ratios of medians."""
    floors = {side: run("machine", f"floor-{side}", work=work)["peak"] for side in ("ours", "peer")}
    told: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    rates: list[dict[str, dict[str, float]]] = []
    for turn in range(rounds):
        for side, (module, options) in SIDES.items():
            say(f"round {turn + 1} of {rounds}: {side}")
            asked = {"material": str(material), "rows": "rows.jsonl", "steps": UPDATES[side], "batch": BATCH, **options}
            told[side].append(run(module, json.dumps(asked), work=work))
        rates.append(run("machine", "rate", work=work))
    wall, cpu = (ratios(told, rates, clock) for clock in ("wall", "cpu"))
    share = min(_share(one) for runs in told.values() for one in runs)
    peaks = {side: statistics.median(one["peak"] for one in runs) for side, runs in told.items()}
    return {
        **(wall if share >= QUIET else cpu)["ratios"],
        "clock": "wall" if share >= QUIET else "cpu",
        "least_processor_share": share,
        "memory_vs_default": peaks["ours"] / peaks["default"],
        "memory_vs_expert": peaks["ours"] / peaks["expert"],
        "cpu": cpu,
        "wall": wall,
        "peak_bytes": peaks,
        "import_floor_bytes": floors,
        "ours": told["ours"][-1]["about"],
        "rounds": rounds,
        "real_tokens": {side: runs[0]["tokens"] for side, runs in told.items()},
        "losses": {side: runs[0]["loss"] for side, runs in told.items()},
    }


def ratios(
    told: Mapping[str, Sequence[Mapping[str, Any]]], rates: Sequence[Mapping[str, Mapping[str, float]]], clock: str
) -> dict[str, Any]:
    """Speeds (real tokens a second: median, least, most) and their ratios by one clock."""
    seconds = "seconds" if clock == "wall" else "cpu"
    speeds = {side: spread([_rate(one, "tokens", seconds) for one in runs]) for side, runs in told.items()}
    products = {shape: statistics.median(one[shape][clock] for one in rates) for shape in rates[0]}
    # against the fastest shape measured: the fraction is never flattered by a slow one
    fractions = [
        _rate(one, "flops", seconds) / (1e9 * max(shape[clock] for shape in rate.values()))
        for one, rate in zip(told["ours"], rates, strict=True)
    ]
    ours = speeds["ours"]["median"]
    return {
        "ratios": {
            "vs_default": ours / speeds["default"]["median"],
            "vs_expert": ours / speeds["expert"]["median"],
            "useful_fraction": statistics.median(fractions),
        },
        "tokens_per_second": speeds,
        "gflops": products,
    }


def _share(one: Mapping[str, Any]) -> float:
    """CPU time over wall time of a child's timed updates: 1 on a quiet machine."""
    return sum(one["cpu"][1:]) / sum(one["seconds"][1:])


def _rate(one: Mapping[str, Any], what: str, seconds: str) -> float:
    return sum(one[what][1:]) / sum(one[seconds][1:])


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


def show(report: Mapping[str, Any]) -> None:
    """The report as a table."""
    for check in report["gate_checks"]:
        mark = "ok  " if check["passed"] else "FAIL"
        print(f"{mark} {check['name']:<40} {check['measured']:.2e}  (bound {check['bound']:.0e})")
    if "vs_default" not in report:
        print("not timed")
        return
    print(f"\n{'':<10}{'real tokens/s':>24}{'by CPU time':>14}{'peak memory':>14}")
    for side in SIDES:
        wall, cpu = (report[clock]["tokens_per_second"][side] for clock in ("wall", "cpu"))
        name = side if side == "ours" else f"TRL {side}"
        around = f"{wall['median']:.0f} ({wall['least']:.0f} to {wall['most']:.0f})"
        print(f"{name:<12}{around:>22}{cpu['median']:>14.0f}{report['peak_bytes'][side] / 1e9:>11.2f} GB")
    by = "wall clock" if report["clock"] == "wall" else "CPU time: other programs were running"
    print(f"\n{'':<20}{'measured':>10}{'bar':>8}      (by {by})")
    for name, bar in BARS.items():
        print(f"{name:<20}{report[name]:>10.3f}{bar:>8}")
    fastest = max(report[report["clock"]]["gflops"].values())
    print(f"\nbf16 matrix products on one thread: {fastest:.0f} GFLOP/s ({report['processor']}, {report['commit']})")


def say(text: str) -> None:
    """Progress, for people."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
