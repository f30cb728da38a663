"""Tunesmith and TRL + PEFT side by side: the same DPO training of a 32M-parameter Llama on one CPU thread.

    python benchmarks/dpo_vs_trl.py [--json] [--rounds 2] [--data pairs.json]        (needs the extra `peers`)

Eight pairs an update, at most 512 tokens, β 0.1, LoRA rank 16 on all linears, AdamW at 5e-5, clipping at 1; the same
base, pairs in the same order, and first adapter; the reference is the base. First the equality gate
(``sidebyside/gate.py``): where it fails nothing is timed. Then rounds in fresh processes with one thread each:

    default         TRL as it comes: float32 weights, bf16 autocast, activation checkpointing
    expert          bf16 weights, no checkpointing
    expert_grouped  the same with pairs of similar length together (other pairs, so compared by tokens only)
    expert_cached   the expert with ``precompute_ref_log_probs``, whose cost is not in the time
    ours            a recipe with no speed option set, in its first epoch: the reference is asked inside the time
    ours_cached     the same from the second epoch on, when the reference's log-probabilities are known

Speeds are real tokens a second, a pair's prompt counted for both answers, without padding; the first update of each
process is warm-up. Clock and memory are as in ``sft_vs_trl.py``.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.child import run
from sidebyside.gate import preference_checks
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

BATCH = 8
UPDATES = 9
SIDES = {
    "default": ("peer", {"setting": "default", "order": "sequential"}),
    "expert": ("peer", {"setting": "expert", "order": "sequential"}),
    "expert_grouped": ("peer", {"setting": "expert", "order": "group_by_length"}),
    "expert_cached": ("peer", {"setting": "expert", "order": "sequential", "cached": True}),
    "ours": ("ours", {"dtype": "auto"}),
    "ours_cached": ("ours", {"dtype": "auto", "cached": True}),
}
RATIOS = {
    "vs_default": ("ours", "default"),
    "vs_expert": ("ours", "expert"),
    "vs_expert_grouped": ("ours", "expert_grouped"),
    "cached_vs_default": ("ours_cached", "default"),
    "cached_vs_expert": ("ours_cached", "expert"),
    "cached_vs_expert_cached": ("ours_cached", "expert_cached"),
}
BARS = {"vs_default": 3.5, "vs_expert": 2.0, "cached_vs_default": 6.0, "cached_vs_expert": 3.5}


def main() -> int:
    """Exit code 1 where the gate fails."""
    options = arguments(__doc__, real_rows("preference/rasbt_instruction_preference.json"), rounds=2)
    work = CACHE / "work"
    work.mkdir(parents=True, exist_ok=True)
    about = run("machine", "about", work=work)
    material = prepared("pairs", options.data, work)
    measured = code(material, about)
    gate = gated(measured, lambda: preference_checks(material, work, batch=BATCH, say=say), again=options.gate_again)
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
    """Interleaved rounds of all sides; ratios of medians."""
    told: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for turn in range(rounds):
        for side, (module, options) in SIDES.items():
            say(f"round {turn + 1} of {rounds}: {side}")
            asked = {"material": str(material), "rows": "rows.jsonl", "steps": UPDATES, "batch": BATCH, **options}
            told[side].append(run(module, json.dumps({**asked, "objective": "dpo"}), work=work))
    wall, cpu = (speeds(told, clock) for clock in ("wall", "cpu"))
    least = min(share(one) for runs in told.values() for one in runs)
    peaks = {side: statistics.median(one["peak"] for one in runs) for side, runs in told.items()}
    chosen = wall if least >= QUIET else cpu
    return {
        **chosen["ratios"],
        "clock": "wall" if chosen is wall else "cpu",
        "least_processor_share": least,
        "memory_vs_default": peaks["ours"] / peaks["default"],
        "memory_vs_expert": peaks["ours"] / peaks["expert"],
        "cpu": cpu,
        "wall": wall,
        "peak_bytes": peaks,
        "ours": told["ours"][-1]["about"],
        "rounds": rounds,
        "pairs_an_update": BATCH,
        "real_tokens": {side: runs[0]["tokens"] for side, runs in told.items()},
        "losses": {side: runs[0]["loss"] for side, runs in told.items()},
    }


def speeds(told: Mapping[str, Sequence[Mapping[str, Any]]], clock: str) -> dict[str, Any]:
    """Real tokens and pairs a second (median, least, most) and the ratios of tokens a second by one clock."""
    tokens = {side: spread([rate(one, "tokens", clock) for one in runs]) for side, runs in told.items()}
    counted = {side: [{**one, "pairs": [BATCH] * UPDATES} for one in runs] for side, runs in told.items()}
    pairs = {side: spread([rate(one, "pairs", clock) for one in runs]) for side, runs in counted.items()}
    ratios = {name: tokens[ours]["median"] / tokens[theirs]["median"] for name, (ours, theirs) in RATIOS.items()}
    return {"ratios": ratios, "tokens_per_second": tokens, "pairs_per_second": pairs}


def show(report: Mapping[str, Any]) -> None:
    """The report as a table."""
    show_gate(report)
    if "vs_default" not in report:
        print("not timed")
        return
    print(f"\n{'':<16}{'real tokens/s':>24}{'pairs/s':>10}{'peak memory':>14}")
    by = report[report["clock"]]
    for side in SIDES:
        speed, pairs = by["tokens_per_second"][side], by["pairs_per_second"][side]["median"]
        around = f"{speed['median']:.0f} ({speed['least']:.0f} to {speed['most']:.0f})"
        print(f"{side:<16}{around:>24}{pairs:>10.2f}{report['peak_bytes'][side] / 1e9:>11.2f} GB")
    show_bars(report, BARS)
    print(f"\n{report['processor']}, one thread, {report['commit']}")


if __name__ == "__main__":
    sys.exit(main())
