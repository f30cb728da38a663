"""How time and memory grow: with tokens, rank, layers, length, vocabulary and the number of adapters.

    python benchmarks/scaling.py [CURVE …] [--again] [--json]        (extras `peers` and `sweep`)

Each curve is a process of its own with one thread (``sidebyside/points.py``): LoRA on random Llamas, CPU seconds of an
update and peak memory; adapters are trials of one ``tunesmith sweep``, whole commands. Results lie in
``benchmarks/results/scaling.json`` curve by curve, so that a stopped run goes on; curves of other code are measured
again. Exponents are fitted by ``sidebyside/curves.py``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidebyside.child import run
from sidebyside.curves import TITLES, curves_of
from sidebyside.report import ROOT, begun, code, commit, common_arguments, prepared, say
from sweep import METHODS, RATES, ROWS, cost, write_recipe

RESULT = ROOT / "benchmarks" / "results" / "scaling.json"
SHAPE = {"width": 256, "mlp": 704, "layers": 4, "heads": 4, "kv_heads": 4, "vocabulary": 16_000, "positions": 2048}
NARROW = {**SHAPE, "width": 64, "mlp": 176, "layers": 2, "heads": 2, "kv_heads": 2}
USUAL: dict[str, Any] = {"shape": SHAPE, "sequences": 8, "length": 250, "answered": False, "rank": 16}
Options = Mapping[str, Any]


def points() -> dict[str, dict[int, Options]]:
    """Curve -> what is varied -> the options of the point (of adapters: none)."""
    long = {**NARROW, "positions": 40_000}
    return {
        "tokens": {250 * count: {**USUAL, "sequences": count} for count in (4, 16, 64)},
        "rank": {rank: {**USUAL, "rank": rank} for rank in (4, 32, 256)},
        "layers": {count: {**USUAL, "shape": {**SHAPE, "layers": count}} for count in (2, 8, 32)},
        "length": {
            length: {**USUAL, "shape": long, "sequences": 1, "length": length - 8}
            for length in (2048, 8192, 16_384, 32_768)
        },
        "vocabulary": {
            size: {**USUAL, "shape": {**NARROW, "vocabulary": size}, "sequences": 4, "answered": True}
            for size in (16_000, 64_000, 256_000)
        },
        "adapters": {count: {} for count in (1, 2, 4)},
    }


def main() -> int:
    """Always 0: these are measurements."""
    parser = common_arguments(__doc__)
    parser.add_argument("curves", nargs="*", metavar="CURVE", help=f"of {', '.join(TITLES)}; all by default")
    parser.add_argument("--again", action="store_true", help="measure curves that are there")
    options = parser.parse_args()
    if unknown := sorted(set(options.curves) - set(TITLES)):
        parser.error(f"unknown curve: {', '.join(unknown)}")
    work, about = begun("scaling")
    report = found_before(code(Path("scaling"), about), again=options.again)
    report |= {"floor_bytes": run("machine", "floor-ours", work=work)["peak"], "commit": commit(), **about}
    for name in options.curves or TITLES:
        if name not in report["curves"]:
            say(name)
            report["curves"][name] = measured(name, work)
            RESULT.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2) if options.json else told(report))
    return 0


def found_before(state: str, *, again: bool) -> dict[str, Any]:
    """The results so far where they are of the code ``state``; else none yet."""
    if RESULT.is_file() and not again:
        found: dict[str, Any] = json.loads(RESULT.read_text())
        if found["code"] == state:
            return found
    return {"code": state, "curves": {}}


def measured(name: str, work: Path) -> list[dict[str, float]]:
    """The points of a curve: ``x`` and what it costs."""
    every = points()[name]
    if name == "adapters":
        costs = [adapters(count, work) for count in every]
    else:
        costs = run("points", json.dumps(list(every.values())), work=work)["points"]
    return [{"x": value, **one} for value, one in zip(every, costs, strict=True)]


def adapters(count: int, work: Path) -> dict[str, float]:
    """CPU seconds and peak memory of a sweep of ``count`` learning rates."""
    material = prepared("material", None, work, "--size", "tiny")
    rows = (material / "rows.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (work / "rows.jsonl").write_text("".join(rows[:ROWS]), encoding="utf-8")
    recipe = write_recipe(next(iter(METHODS)), material, work)
    over = f"train.learning_rate={','.join(map(str, RATES[:count]))}"
    command = ["sweep", str(recipe), "--over", over, "--trials", str(count), "--halving", "0", "--out", "swept"]
    found = cost(command, work, remove="swept")
    return {"cpu": found["cpu"], "peak": found["peak"]}


def told(report: Mapping[str, Any]) -> str:
    """The exponents as a table."""
    lines = [f"{'against':<24}{'time':>8}{'theory':>8}{'memory':>8}   theory"]
    lines += [
        f"{one.title:<24}{one.time_exponent:>8.2f}{one.time_theory:>8}{one.memory_exponent:>8.2f}   {one.memory_theory}"
        for one in curves_of(report)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
