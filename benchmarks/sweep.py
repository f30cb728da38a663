"""Eight LoRAs in one sweep against eight runs of our own, one after the other: makespan and peak memory.

    python benchmarks/sweep.py [--json] [--rounds 1]        (needs the extras `peers` and `sweep`)

The 32M Llama and rows of `beside_trl.py`; eight learning rates, 24 updates of eight rows each, an evaluation every
three updates, the proofs as they come. Twice: LoRA on all layers, and on the upper half with the frozen lower half kept
in memory (`model.trunk_cache: ram`), which the trials share. Sides, each in fresh processes with one thread: eight
`tunesmith train`; `tunesmith sweep --halving 0`, the same trainings; `--halving 2`, told apart because it trains less.

The gate: every loss of a trial equals the run's of its own to 1e-5. Ratios are by CPU time where the machine was not
quiet (`clock`). Memory is the peak resident memory of a process, imports included.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.cells import SFT_DATA
from sidebyside.child import HERE, OFFLINE, THREADS
from sidebyside.report import (
    begun,
    clock_of,
    commit,
    common_arguments,
    prepared,
    printed,
    real_rows,
    say,
    show_bars,
    show_gate,
    spread,
)

RATES = [1e-5, 3e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3]
ROWS, UPDATES = 216, 24
METHODS: Mapping[str, Mapping[str, Any]] = {
    "all layers": {"method": {"name": "lora"}, "trunk": "off"},
    "upper half": {"method": {"name": "lora", "layers": [4, 5, 6, 7]}, "trunk": "ram"},
}
SAME = 1e-5
BARS = {"makespan": 1.3, "memory": 1.5}
"""Of `all layers` without halving: at least, and at most."""


def main() -> int:
    """Exit code 1 where the gate fails."""
    options = common_arguments(__doc__).parse_args()
    work, about = begun("sweep")
    data = real_rows(SFT_DATA)
    material = prepared("material", data, work)
    rows = (material / "rows.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (work / "rows.jsonl").write_text("".join(rows[:ROWS]), encoding="utf-8")
    told = [{name: one_round(name, material, work) for name in METHODS} for _ in range(options.rounds)]
    gate = [check for name in METHODS for check in told[0][name]["gate"]]
    report = {"gate": all(check["passed"] for check in gate), "gate_checks": gate, **ratios(told), "commit": commit()}
    report |= {"data": SFT_DATA if data else "generated", "rounds": options.rounds} | about
    return printed(report, as_json=options.json, show=show)


def one_round(name: str, material: Path, work: Path) -> dict[str, Any]:
    """Costs of the three sides for one method, and whether the trials were the runs."""
    recipe = write_recipe(name, material, work)
    over = f"train.learning_rate={','.join(map(str, RATES))}"
    alone = []
    for number, rate in enumerate(RATES):
        say(f"{name}: run {number + 1} of {len(RATES)}")
        arguments = ["train", str(recipe), f"train.learning_rate={rate}", "--out", f"alone/{number}"]
        alone.append(cost(arguments, work, remove="alone" if number == 0 else None))
    sides = {"separate": alone}
    for side, factor in (("sweep", 0), ("halving", 2)):
        say(f"{name}: {side}")
        command = ["sweep", str(recipe), "--over", over, "--trials", "8", "--halving", str(factor), "--out", side]
        sides[side] = [cost(command, work, remove=side)]
    return {"sides": sides, "gate": gate(name, work)}


def write_recipe(name: str, material: Path, work: Path) -> Path:
    """The recipe of all sides."""
    chosen = METHODS[name]
    values = {
        "name": "bench",
        "model": {"base": str(material / "model"), "threads": 1, "trunk_cache": chosen["trunk"]},
        "data": {
            "train": [{"path": str(work / "rows.jsonl"), "format": "messages"}],
            "validation": 0.1,
            "overlong": "cut",
            "workers": 1,
        },
        "method": chosen["method"],
        "train": {"steps": UPDATES, "batch_size": 8, "evaluate_every": 3, "early_stopping": None},
        "evaluate": {"prompts": 0},
        "retention": "none",
    }
    path = work / "recipe.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML
    return path


def cost(arguments: Sequence[str], work: Path, *, remove: str | None) -> dict[str, float]:
    """Wall and CPU seconds, and peak memory, of one ``tunesmith`` in a fresh process."""
    if remove is not None:
        shutil.rmtree(work / remove, ignore_errors=True)
    environment = {
        **os.environ,
        **OFFLINE,
        **THREADS,
        "PYTHONPATH": str(HERE.parent / "src"),
        "TUNESMITH_CACHE": str(work / "cache"),
    }
    command = [sys.executable, "-m", "tunesmith", *arguments, "--json"]
    started = time.perf_counter()
    with (work / "said.txt").open("w") as said:
        child = subprocess.Popen(command, cwd=work, env=environment, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{(work / 'said.txt').read_text()[-4000:]}")
    return {"wall": time.perf_counter() - started, "cpu": _cpu(used), "peak": float(used.ru_maxrss * 1024)}


def gate(name: str, work: Path) -> list[dict[str, Any]]:
    """The largest difference of a loss between trials and runs."""
    result = json.loads((work / "sweep" / "sweep.json").read_text())
    worst = 0.0
    for row in result["trials"]:
        number = RATES.index(row["values"]["train.learning_rate"])
        ours, wanted = losses(Path(work / row["run"])), losses(work / "alone" / str(number))
        worst = max([worst, *(abs(one - other) for one, other in zip(ours, wanted, strict=True))])
    return [{"name": f"losses of {name}", "measured": worst, "bound": SAME, "passed": worst <= SAME}]


def losses(folder: Path) -> list[float]:
    """The loss of every update of a run."""
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [event["loss"] for event in events if event["kind"] == "step"]


def ratios(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Makespan of eight runs over that of one sweep, and the sweep's peak memory over that of a run."""
    every = [one for turn in told for method in turn.values() for side in method["sides"].values() for one in side]
    clock = clock_of(min(one["cpu"] / one["wall"] for one in every))
    found: dict[str, Any] = {"clock": clock}
    for name in METHODS:
        rows = [turn[name]["sides"] for turn in told]
        spans = {side: [sum(one[clock] for one in row[side]) for row in rows] for side in rows[0]}
        peaks = {side: [max(one["peak"] for one in row[side]) for row in rows] for side in rows[0]}
        found[name] = {
            "seconds": {side: spread(values) for side, values in spans.items()},
            "peak_bytes": {side: spread(values) for side, values in peaks.items()},
            "makespan": _ratio(spans["separate"], spans["sweep"]),
            "makespan_with_halving": _ratio(spans["separate"], spans["halving"]),
            "memory": _ratio(peaks["sweep"], peaks["separate"]),
        }
    return found | {name: found["all layers"][name] for name in BARS}


def show(report: Mapping[str, Any]) -> None:
    """The report as a table."""
    show_gate(report)
    for name in METHODS:
        one = report[name]
        print(f"\n{name}:")
        for side, seconds in one["seconds"].items():
            print(f"  {side:<10}{seconds['median']:>8.1f} s{one['peak_bytes'][side]['median'] / 1e9:>8.2f} GB")
        print(f"  eight runs over one sweep: {one['makespan']:.2f}; with halving: {one['makespan_with_halving']:.2f}")
        print(f"  peak memory of the sweep over that of one run: {one['memory']:.2f}")
    show_bars(report, BARS)


def _ratio(ours: Sequence[float], other: Sequence[float]) -> float:
    return spread(ours)["median"] / spread(other)["median"]


def _cpu(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
