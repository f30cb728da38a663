"""Tunesmith and TRL + PEFT side by side: the same training by both, cell by cell, on one CPU thread.

    python benchmarks/beside_trl.py [CELL …] [--all] [--list] [--rounds 3] [--again] [--json]     (extra `peers`)

Without a name the six fixed cells (``make bench``); ``--all`` is every cell (``make bench-all``). What a cell has found
lies in ``benchmarks/results/beside_trl/`` and is read again where code, material and versions are the same, so a
stopped run goes on. Both sides load the same base, rows and first adapter, at most 512 tokens, AdamW, clipping at 1.

First the equality gate (``sidebyside/gate.py``): where it fails nothing is timed. Then rounds of all sides in turn
(``sidebyside/cells.py``), each in a fresh process with one thread, and the machine's own bf16 matrix-product rate in
the same round. Real tokens only are counted, a pair's prompt for both answers; a process's first update is warm-up.
Ratios are of medians over rounds: by wall clock where the machine was quiet, and by CPU time where other programs took
more than a twentieth of any child's time (`clock` says which; both are in the report), because wall-clock ratios of
starved processes mean nothing. Memory is the peak resident memory of a process, told with and without its imports.
"""

from __future__ import annotations

import json
import statistics
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.cells import EVERY, FIXED, Cell
from sidebyside.child import run
from sidebyside.report import (
    CACHE,
    QUIET,
    ROOT,
    code,
    commit,
    gated,
    prepared,
    rate,
    real_rows,
    say,
    share,
    show_bars,
    show_gate,
    spread,
)

RESULTS = ROOT / "benchmarks" / "results" / "beside_trl"
Told = Mapping[str, Sequence[Mapping[str, Any]]]


def main() -> int:
    """Exit code 1 where a gate fails."""
    options = arguments()
    if options.list:
        print("\n".join(f"{name}{'  (fixed)' if name in FIXED else ''}" for name in EVERY))
        return 0
    work = CACHE / "work"
    work.mkdir(parents=True, exist_ok=True)
    about = run("machine", "about", work=work)
    names = options.cells or (list(EVERY) if options.all else list(FIXED))
    reports = {name: measured(EVERY[name], options, about, work) for name in names}
    if options.json:
        print(json.dumps(reports, indent=2))
    else:
        for name, report in reports.items():
            show(EVERY[name], report)
    return 0 if all(report["gate"] for report in reports.values()) else 1


def arguments() -> Namespace:
    """The command line."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", metavar="CELL", help="see --list")
    parser.add_argument("--all", action="store_true", help="every cell")
    parser.add_argument("--list", action="store_true", help="name the cells and stop")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=1, help="interleaved repetitions")
    parser.add_argument("--again", action="store_true", help="measure a cell whose result is there")
    parser.add_argument("--gate-only", action="store_true", help="stop after the equality gate")
    parser.add_argument("--gate-again", action="store_true", help="run the gate even if it passed for this code before")
    options = parser.parse_args()
    unknown = [name for name in options.cells if name not in EVERY]
    if unknown:
        parser.error(f"unknown cell: {', '.join(unknown)} (see --list)")
    return options


def measured(cell: Cell, options: Namespace, about: Mapping[str, Any], work: Path) -> dict[str, Any]:
    """The report of ``cell``: as it is found in ``RESULTS``, or measured and put there."""
    data = real_rows(cell.data)
    maker, *more = cell.maker
    material = prepared(maker, data, work, *more)
    state, file = code(material, about), RESULTS / f"{cell.name}.json"
    if file.is_file() and not options.again and not options.gate_only:
        found: dict[str, Any] = json.loads(file.read_text())
        if found.get("code") == state and found["rounds"] >= options.rounds:
            say(f"{cell.name}: measured before for this code, material and these versions")
            return found
    say(f"{cell.name}")
    gate = gated(f"{cell.name}-{state}", lambda: cell.checks(material, work), again=options.gate_again)
    report: dict[str, Any] = {"cell": cell.name, "gate": all(check["passed"] for check in gate)}
    if report["gate"] and not options.gate_only:
        report |= timings(cell, material, work, options.rounds)
    if code(material, about) != state:
        raise SystemExit("the code changed while it was measured: what was timed is not what passed the gate")
    report |= {"gate_checks": gate, "commit": commit(), "data": cell.data if data else "generated", "code": state}
    report |= about
    if "clock" in report:
        RESULTS.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(report, indent=2) + "\n")
    return report


def timings(cell: Cell, material: Path, work: Path, rounds: int) -> dict[str, Any]:
    """Interleaved rounds of the sides and the matrix-product rate; ratios of medians."""
    floors = {side: run("machine", f"floor-{side}", work=work)["peak"] for side in ("ours", "peer")}
    told: dict[str, list[dict[str, Any]]] = {side: [] for side in cell.sides}
    rates: list[dict[str, dict[str, float]]] = []
    for turn in range(rounds):
        for side, (module, options, steps) in cell.sides.items():
            say(f"  round {turn + 1} of {rounds}: {side}")
            asked = {"material": str(material), "rows": "rows.jsonl", "steps": steps, "batch": cell.batch}
            told[side].append(run(module, json.dumps({**asked, **cell.asked, **options}), work=work))
        rates.append(run("machine", "rate", work=work))
    wall, cpu = (by_clock(cell, told, rates, clock) for clock in ("wall", "cpu"))
    least = min(share(one) for runs in told.values() for one in runs)
    peaks = {side: statistics.median(one["peak"] for one in runs) for side, runs in told.items()}
    above = {side: peak - floors[cell.sides[side][0]] for side, peak in peaks.items()}
    return {
        **(wall if least >= QUIET else cpu)["ratios"],
        "clock": "wall" if least >= QUIET else "cpu",
        "least_processor_share": least,
        "memory_vs_default": peaks["ours"] / peaks["default"],
        "memory_above_floor": above["ours"] / above["default"],
        "cpu": cpu,
        "wall": wall,
        "peak_bytes": peaks,
        "import_floor_bytes": floors,
        "ours": told["ours"][-1]["about"],
        "rounds": rounds,
        "sequences_an_update": cell.batch,
        "real_tokens": {side: runs[0]["tokens"] for side, runs in told.items()},
        "losses": {side: runs[0]["loss"] for side, runs in told.items()},
    }


def by_clock(cell: Cell, told: Told, rates: Sequence[Mapping[str, Mapping[str, float]]], clock: str) -> dict[str, Any]:
    """Speeds (real tokens a second: median, least, most) and their ratios by one clock."""
    speeds = {side: spread([rate(one, "tokens", clock) for one in runs]) for side, runs in told.items()}
    products = {shape: statistics.median(one[shape][clock] for one in rates) for shape in rates[0]}
    ratios = {name: speeds[ours]["median"] / speeds[theirs]["median"] for name, (ours, theirs) in cell.ratios.items()}
    if told["ours"][0]["flops"]:
        # against the fastest shape measured: the fraction is never flattered by a slow one
        ratios["useful_fraction"] = statistics.median(
            rate(one, "flops", clock) / (1e9 * max(shape[clock] for shape in products.values()))
            for one, products in zip(told["ours"], rates, strict=True)
        )
    return {"ratios": ratios, "tokens_per_second": speeds, "gflops": products}


def show(cell: Cell, report: Mapping[str, Any]) -> None:
    """The report as a table."""
    print(f"\n{cell.name}")
    show_gate(report)
    if "clock" not in report:
        print("not timed")
        return
    print(f"\n{'':<20}{'real tokens/s':>24}{'peak memory':>14}")
    by = report[report["clock"]]
    for side in cell.sides:
        speed = by["tokens_per_second"][side]
        name = side if side.startswith("ours") else f"TRL {side}"
        around = f"{speed['median']:.0f} ({speed['least']:.0f} to {speed['most']:.0f})"
        print(f"{name:<20}{around:>24}{report['peak_bytes'][side] / 1e9:>11.2f} GB")
    show_bars(report, {**dict.fromkeys(by["ratios"]), "memory_above_floor": None, **cell.bars})
    fastest = max(by["gflops"].values())
    print(f"\nbf16 matrix products on one thread: {fastest:.0f} GFLOP/s ({report['processor']}, {report['commit']})")


if __name__ == "__main__":
    sys.exit(main())
