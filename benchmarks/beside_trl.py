"""Tunesmith beside TRL + PEFT and transformers' own trainer: the same training by all, cell by cell.

    python benchmarks/beside_trl.py [CELL …] [--all] [--gpu] [--list] [--rounds 3] [--again] [--json]  (extra `peers`)

Without a name the six fixed cells (``make bench``), on one CPU thread; ``--all`` is every one of these (``make
bench-all``), ``--gpu`` are those of a GPU (``make bench-gpu``). What a cell has found lies in
``benchmarks/results/beside_trl/`` and is read again where code, material and versions are the same, so a stopped run
goes on. Both sides load the same base, rows and first adapter, at most 512 tokens, AdamW, clipping at 1.

First the equality gate (``sidebyside/gate.py``): where it fails nothing is timed. Then rounds of all sides in turn
(``sidebyside/cells.py``), each in a fresh process, and the machine's own bf16 matrix-product rate in the same round.
Real tokens only are counted, a pair's prompt for both answers; a process's first update is warm-up.
Ratios are of medians over rounds: by wall clock where the machine was quiet, and by CPU time where other programs took
more than a twentieth of any child's time (`clock` says which; both are in the report), because wall-clock ratios of
starved processes mean nothing. Memory is the peak resident memory of a process, told with and without its imports; on
a GPU the peak of what is allocated there.
"""

from __future__ import annotations

import json
import statistics
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sidebyside.cells import EVERY, FIXED, ON_GPU, Cell
from sidebyside.child import run
from sidebyside.gate import checks
from sidebyside.report import (
    ROOT,
    begun,
    clock_of,
    code,
    commit,
    common_arguments,
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
KNOWN = {**EVERY, **ON_GPU}
Told = Mapping[str, Sequence[Mapping[str, Any]]]


def main() -> int:
    """Exit code 1 where a gate fails; 2 where cells of a GPU are asked for and there is none."""
    options = arguments()
    if options.list:
        print("\n".join(f"{name}{remark(name)}" for name in KNOWN))
        return 0
    work, about = begun("work")
    every = ON_GPU if options.gpu else EVERY
    names = options.cells or list(every if options.all or options.gpu else FIXED)
    if any(KNOWN[name].gpu for name in names):
        if about["gpu"] is None:
            say("These cells need an NVIDIA GPU that torch can use; there is none here, so nothing was measured.")
            return 2
        for name, why in about["not_compared"].items():
            say(f"not compared with {name}: {why}")
    reports = {name: measured(KNOWN[name], options, about, work) for name in names}
    if options.json:
        print(json.dumps(reports, indent=2))
    else:
        for name, report in reports.items():
            show(KNOWN[name], report)
    return 0 if all(report["gate"] for report in reports.values()) else 1


def remark(name: str) -> str:
    """What is special about a cell."""
    return "  (fixed)" if name in FIXED else "  (gpu)" if name in ON_GPU else ""


def arguments() -> Namespace:
    """The command line."""
    parser = common_arguments(__doc__)
    parser.add_argument("cells", nargs="*", metavar="CELL", help="see --list")
    parser.add_argument("--all", action="store_true", help="every cell of a CPU")
    parser.add_argument("--gpu", action="store_true", help="every cell of a GPU")
    parser.add_argument("--list", action="store_true", help="name the cells and stop")
    parser.add_argument("--again", action="store_true", help="measure a cell whose result is there")
    parser.add_argument("--gate-only", action="store_true", help="stop after the equality gate")
    parser.add_argument("--gate-again", action="store_true", help="run the gate even if it passed for this code before")
    options = parser.parse_args()
    unknown = [name for name in options.cells if name not in KNOWN]
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
    gate = gated(f"{cell.name}-{state}", partial(checks, cell, material, work, say=say), again=options.gate_again)
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
    child = partial(run, work=work, gpu=cell.gpu)
    whose = {side.floor for side in cell.sides.values()}
    floors = {name: child("machine", f"floor-{name}")["peak"] for name in sorted(whose)}
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in cell.sides}
    rates: list[dict[str, dict[str, float]]] = []
    for turn in range(rounds):
        for name, side in cell.sides.items():
            say(f"  round {turn + 1} of {rounds}: {name}")
            asked = {"material": str(material), "rows": "rows.jsonl", "steps": side.updates, "batch": cell.batch}
            told[name].append(child(side.module, json.dumps({**asked, **cell.asked, **side.options})))
        rates.append(child("machine", "rate"))
    by = {clock: by_clock(cell, told, rates, clock) for clock in ("wall", "cpu")}
    least = min(share(one, cell.sides[name].first) for name, runs in told.items() for one in runs)
    # a GPU's work is not in the CPU's time
    clock = "wall" if cell.gpu else clock_of(least)
    return {
        **by[clock]["ratios"],
        "clock": clock,
        "least_processor_share": least,
        **memory(cell, told, floors),
        **by,
        "ours": told["ours"][-1]["about"],
        "rounds": rounds,
        "sequences_an_update": cell.batch,
        "real_tokens": {name: runs[0]["tokens"] for name, runs in told.items()},
        "losses": {name: runs[0]["loss"] for name, runs in told.items()},
    }


def memory(cell: Cell, told: Told, floors: Mapping[str, int]) -> dict[str, Any]:
    """Peak memory of the sides (medians), and of ours as a share of the other side's default."""
    peaks = {name: statistics.median(one["peak"] for one in runs) for name, runs in told.items()}
    above = {name: peak - floors[cell.sides[name].floor] for name, peak in peaks.items()}
    found = {
        "memory_vs_default": peaks["ours"] / peaks["default"],
        "memory_above_floor": above["ours"] / above["default"],
        "peak_bytes": peaks,
        "import_floor_bytes": dict(floors),
    }
    return found | ({"lean_memory": peaks["ours_lean"] / peaks["default"]} if "ours_lean" in peaks else {})


def by_clock(cell: Cell, told: Told, rates: Sequence[Mapping[str, Mapping[str, float]]], clock: str) -> dict[str, Any]:
    """Speeds (real tokens a second: median, least, most) and their ratios by one clock."""
    first = {name: side.first for name, side in cell.sides.items()}
    speeds = {name: spread([rate(one, "tokens", clock, first[name]) for one in runs]) for name, runs in told.items()}
    products = {shape: statistics.median(one[shape][clock] for one in rates) for shape in rates[0]}
    ratios = {name: speeds[ours]["median"] / speeds[theirs]["median"] for name, (ours, theirs) in cell.ratios.items()}
    if told["ours"][0]["flops"]:
        # against the fastest shape measured: the fraction is never flattered by a slow one
        ratios["useful_fraction"] = statistics.median(
            rate(one, "flops", clock, first["ours"]) / (1e9 * max(shape[clock] for shape in products.values()))
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
    for side, speed in by["tokens_per_second"].items():
        name = side if side.startswith("ours") else f"other: {side}"
        around = f"{speed['median']:.0f} ({speed['least']:.0f} to {speed['most']:.0f})"
        print(f"{name:<20}{around:>24}{report['peak_bytes'][side] / 1e9:>11.2f} GB")
    show_bars(report, {**dict.fromkeys(by["ratios"]), "memory_above_floor": None, **cell.bars})
    fastest = max(by["gflops"].values())
    print(f"\nbf16 matrix products: {fastest:.0f} GFLOP/s ({report['processor']}, {report['commit']})")


if __name__ == "__main__":
    sys.exit(main())
