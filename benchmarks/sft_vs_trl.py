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

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.child import run
from sidebyside.gate import checks
from sidebyside.report import (
    CACHE,
    QUIET,
    arguments,
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

BATCH = 16
SIDES = {
    "default": ("peer", {"setting": "default", "order": "sequential"}),
    "expert": ("peer", {"setting": "expert", "order": "group_by_length"}),
    "ours": ("ours", {"dtype": "auto"}),
}
UPDATES = {"default": 4, "expert": 15, "ours": 15}
"""Updates of a process. Fifteen are one whole group of the expert's length grouping, which starts with its longest rows
and ends with its shortest."""
BARS = {"vs_default": 5.5, "vs_expert": 2.0, "memory_vs_default": 0.7, "memory_vs_expert": 0.5, "useful_fraction": 0.42}


def main() -> int:
    """Exit code 1 where the gate fails."""
    options = arguments(__doc__, real_rows("sft/alpaca_en_demo.json"), rounds=3)
    work = CACHE / "work"
    work.mkdir(parents=True, exist_ok=True)
    about = run("machine", "about", work=work)
    material = prepared("material", options.data, work)
    measured = code(material, about)
    gate = gated(measured, lambda: checks(material, work, batch=BATCH, say=say), again=options.gate_again)
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
    least = min(share(one) for runs in told.values() for one in runs)
    peaks = {side: statistics.median(one["peak"] for one in runs) for side, runs in told.items()}
    return {
        **(wall if least >= QUIET else cpu)["ratios"],
        "clock": "wall" if least >= QUIET else "cpu",
        "least_processor_share": least,
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
    speeds = {side: spread([rate(one, "tokens", clock) for one in runs]) for side, runs in told.items()}
    products = {shape: statistics.median(one[shape][clock] for one in rates) for shape in rates[0]}
    # against the fastest shape measured: the fraction is never flattered by a slow one
    fractions = [
        rate(one, "flops", clock) / (1e9 * max(shape[clock] for shape in products.values()))
        for one, products in zip(told["ours"], rates, strict=True)
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


def show(report: Mapping[str, Any]) -> None:
    """The report as a table."""
    show_gate(report)
    if "vs_default" not in report:
        print("not timed")
        return
    print(f"\n{'':<10}{'real tokens/s':>24}{'by CPU time':>14}{'peak memory':>14}")
    for side in SIDES:
        wall, cpu = (report[clock]["tokens_per_second"][side] for clock in ("wall", "cpu"))
        name = side if side == "ours" else f"TRL {side}"
        around = f"{wall['median']:.0f} ({wall['least']:.0f} to {wall['most']:.0f})"
        print(f"{name:<12}{around:>22}{cpu['median']:>14.0f}{report['peak_bytes'][side] / 1e9:>11.2f} GB")
    show_bars(report, BARS)
    fastest = max(report[report["clock"]]["gflops"].values())
    print(f"\nbf16 matrix products on one thread: {fastest:.0f} GFLOP/s ({report['processor']}, {report['commit']})")


if __name__ == "__main__":
    sys.exit(main())
