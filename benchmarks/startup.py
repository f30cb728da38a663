"""From the command to the first update, opening a store of a million rows, and loading a base packed.

    python benchmarks/startup.py [--json] [--rounds 3]

The first update is that of a run on Seedling with every default, proofs included, in a fresh process; the clock starts
before the interpreter does. The store is opened by a process that knows nothing of it. The base has 310 million
parameters in bf16; what loading takes above the floor (imports, and the loading of a small base) is told as a share of
the packed model's own bytes, read a tensor at a time and, beside it, packed after it was loaded whole. Results lie in
``benchmarks/results/startup.json``. By CPU time where the machine was not quiet (``clock``).
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidebyside.child import run
from sidebyside.report import ROOT, begun, clock_of, commit, common_arguments, printed, say, show_bars

RESULT = ROOT / "benchmarks" / "results" / "startup.json"
KIND = "nf4-double"
BARS = {"first_step_seconds": 8.0, "store_seconds": 1.0, "load_share": 1.1}
"""At most."""


def main() -> int:
    """Always 0: these are measurements."""
    options = common_arguments(__doc__).parse_args()
    work, about = begun("startup")
    report = {**timings(work, options.rounds), "gate": True, "commit": commit(), "rounds": options.rounds, **about}
    RESULT.write_text(json.dumps(report, indent=2) + "\n")
    return printed(report, as_json=options.json, show=show)


def timings(work: Path, rounds: int) -> dict[str, Any]:
    """Medians of ``rounds``, by the clock that can be trusted."""
    say("making rows, a store and a base")
    started(work)
    for what, made in (("make-store", "store"), ("make-base", "large")):
        if not (work / made).is_dir():
            run("start", what, str(work), work=work)
    say("first updates")
    first = [started(work) for _ in range(rounds)]
    opened = [run("start", "store", str(work), work=work) for _ in range(rounds)]
    say("loading")
    loaded = {how: run("start", "load", str(work), KIND, how, work=work) for how in ("streamed", "dense")}
    clock = clock_of(min(one["cpu"] / one["seconds"] for one in (*first, *opened)))
    name = "seconds" if clock == "wall" else "cpu"
    return {
        "clock": clock,
        "first_step_seconds": statistics.median(one[name] for one in first),
        "store_seconds": statistics.median(one[name] for one in opened),
        "load_share": share(loaded["streamed"]),
        "dense_load_share": share(loaded["dense"]),
        "first_step": first,
        "store": opened,
        "load": loaded,
    }


def started(work: Path) -> dict[str, Any]:
    """Seconds to the first update; the first time its rows are written, and nothing is measured."""
    return run("start", "first-step", str(work), str(time.time()), work=work)


def share(loaded: Mapping[str, float]) -> float:
    """Memory that loading took, as a share of what is held in the end."""
    return loaded["peak_bytes"] / loaded["result_bytes"]


def show(report: Mapping[str, Any]) -> None:
    """The report as a table."""
    show_bars(report, {**BARS, "dense_load_share": None})


if __name__ == "__main__":
    sys.exit(main())
