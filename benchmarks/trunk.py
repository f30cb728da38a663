"""LoRA on the upper half, with the frozen lower half run once a row: against ourselves without, and against TRL + PEFT.

    python benchmarks/trunk.py [--json] [--rounds 3] [--data alpaca.json]        (needs the extra `peers`)

The cell `sft-lora-32m-alpaca` of `beside_trl.py` (32M Llama, sixteen rows an update, LoRA rank 16) on layers 4 to 7 of
8, two epochs of 240 rows, same base, rows and first adapter on all sides. First the equality gate of that benchmark,
and that our losses with the trunk kept are those without. Then interleaved rounds: TRL as it comes, TRL as an expert
sets it, Tunesmith without and with `model.trunk_cache: ram` and `disk`, each in a fresh process with one thread. The
first epoch is told apart from the second, in which no lower layer is run; TRL's epochs are all alike, so a part of one
is timed. Real tokens only; the first update of each part is warm-up. By CPU time where the machine was not quiet
(`clock`).
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.child import run
from sidebyside.gate import Check, checks
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

BATCH, EPOCH = 16, 15
"""Rows an update, updates an epoch."""
LAYERS = [4, 5, 6, 7]
OURS = ("off", "ram", "disk")
PEERS = {"default": ("sequential", 4), "expert": ("group_by_length", EPOCH)}
"""Order of rows and updates of a process. Fifteen are the whole epoch of the expert's length grouping."""
BARS = {"vs_default": 12.0, "vs_expert": 4.5}
SAME = 2e-3
"""Relative: what bf16 rounding makes of other neighbours in a micro-batch over thirty updates; rows meet the same
neighbours here, so 0 is expected."""


def main() -> int:
    """Exit code 1 where the gate fails."""
    options = arguments(__doc__, real_rows("sft/alpaca_en_demo.json"), rounds=3)
    work = CACHE / "work"
    work.mkdir(parents=True, exist_ok=True)
    about = run("machine", "about", work=work)
    material = prepared("top", options.data, work)
    measured = code(material, about)
    part = {"layers": LAYERS}
    gate = gated(measured, lambda: checks(material, work, batch=BATCH, say=say, asked=part), again=options.gate_again)
    report: dict[str, Any] = {}
    if all(check["passed"] for check in gate) and not options.gate_only:
        told = rounds(material, work, options.rounds)
        gate = [*gate, *same_losses(told)]
        report |= timings(told)
    if code(material, about) != measured:
        raise SystemExit("the code changed while it was measured: what was timed is not what passed the gate")
    passed = all(check["passed"] for check in gate)
    report |= {
        "gate": passed,
        "gate_checks": gate,
        "commit": commit(),
        "data": str(options.data or "generated"),
    } | about
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
    return 0 if passed else 1


def rounds(material: Path, work: Path, count: int) -> dict[str, list[dict[str, Any]]]:
    """What every process of ``count`` interleaved rounds said, by side."""
    asked = {"material": str(material), "rows": "rows.jsonl", "batch": BATCH}
    told: dict[str, list[dict[str, Any]]] = {side: [] for side in (*PEERS, *OURS)}
    for turn in range(count):
        for side, (order, steps) in PEERS.items():
            say(f"round {turn + 1} of {count}: TRL {side}")
            options = {**asked, "setting": side, "order": order, "steps": steps}
            told[side].append(run("peer", json.dumps(options), work=work))
        for side in OURS:
            say(f"round {turn + 1} of {count}: ours, trunk {side}")
            options = {**asked, "dtype": "auto", "layers": LAYERS, "trunk_cache": side, "steps": 2 * EPOCH}
            told[side].append(run("ours", json.dumps(options), work=work))
    return told


def same_losses(told: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Largest relative difference of the losses of thirty updates, with the trunk kept and without."""
    wanted = told["off"][0]["loss"]
    found = {side: max(abs(a / b - 1) for a, b in zip(told[side][0]["loss"], wanted, strict=True)) for side in OURS[1:]}
    return [Check(f"losses with trunk {side}", worst, SAME).as_dict() for side, worst in found.items()]


def timings(told: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Speeds by epoch and their ratios, by the clock that can be trusted."""
    least = min(share(one) for runs in told.values() for one in runs)
    clock = "wall" if least >= QUIET else "cpu"
    speeds = {side: spread([rate(one, "tokens", clock) for one in told[side]]) for side in PEERS}
    for side in OURS:
        speeds[f"{side}, epoch 1"] = spread([rate(epoch(one, 0), "tokens", clock) for one in told[side]])
        speeds[f"{side}, epoch 2"] = spread([rate(epoch(one, 1), "tokens", clock) for one in told[side]])
    median = {name: one["median"] for name, one in speeds.items()}
    return {
        "clock": clock,
        "least_processor_share": least,
        "vs_default": median["ram, epoch 2"] / median["default"],
        "vs_expert": median["ram, epoch 2"] / median["expert"],
        "vs_ours_without": {
            name: median[name] / median[f"off, {name.partition(', ')[2]}"]
            for name in ("ram, epoch 1", "ram, epoch 2", "disk, epoch 1", "disk, epoch 2")
        },
        "tokens_per_second": speeds,
        "peak_bytes": {side: statistics.median(one["peak"] for one in runs) for side, runs in told.items()},
    }


def epoch(one: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The part of a child's updates that is epoch ``number``."""
    part = slice(number * EPOCH, (number + 1) * EPOCH)
    return {name: one[name][part] for name in ("tokens", "seconds", "cpu")}


def show(report: Mapping[str, Any]) -> None:
    """The report as a table."""
    show_gate(report)
    if "vs_default" not in report:
        print("not timed")
        return
    print(f"\n{'':<20}{'real tokens/s':>26}")
    for side, speed in report["tokens_per_second"].items():
        name = f"TRL {side}" if side in PEERS else f"ours, trunk {side}"
        print(f"{name:<26}{speed['median']:>8.0f} ({speed['least']:.0f} to {speed['most']:.0f})")
    for name, ratio in report["vs_ours_without"].items():
        print(f"trunk {name} against off: {ratio:.2f}")
    show_bars(report, BARS)


if __name__ == "__main__":
    sys.exit(main())
