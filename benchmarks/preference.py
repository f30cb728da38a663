"""Preference learning on real pairs: DPO after SFT, and a reward model, each on held-out pairs over several seeds.

    TUNESMITH_TEST_DATA=DATA python benchmarks/preference.py --out DIR [--seeds 3] [--json]

The base is the 260,032-parameter story model, the pairs are 1,100 real instructions with a chosen and a rejected
answer, of which a tenth is held out by each seed's own split. Resumable: finished runs in DIR are found again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from tunesmith.files import write_json
from tunesmith.recipe import Recipe
from tunesmith.run import Run, train

RESULTS = Path(__file__).resolve().parent / "results" / "preference.json"
LORA = {"name": "lora", "rank": 8, "alpha": 16}
TRAIN = {"batch_size": 16, "learning_rate": 1e-3, "evaluate_every": 30}
ARMS: dict[str, dict[str, Any]] = {
    "dpo": {
        "stages": [
            {"name": "sft", "objective": "sft", "train": {"epochs": 2.0}},
            {"name": "dpo", "objective": {"name": "dpo", "beta": 0.1}, "train": {"epochs": 2.0}},
        ]
    },
    "reward": {"objective": "reward", "train": TRAIN | {"epochs": 2.0}},
}
METRICS = ("accuracy", "margin", "length_bias", "calibration_error")


def measured(data: Path, out: Path, arm: str, seed: int) -> dict[str, Any]:
    """One run's held-out metrics before and after, with the paired change."""
    folder = out / f"{arm}-{seed}"
    values = {
        "name": f"{arm}-{seed}",
        "seed": seed,
        "model": {"base": str(data / "models" / "stories260k-hf"), "threads": 1},
        "data": {"train": [str(data / "preference" / "rasbt_instruction_preference.json")], "template": "plain"},
        "method": LORA,
        "train": TRAIN,
        "evaluate": {"prompts": 0},
        **ARMS[arm],
    }
    if not Run(folder).finished:
        train(Recipe.model_validate(values), out=folder, resume=Run(folder).begun)
    changes = Run(folder).summary()["changes"]
    task = {name: changes["task"][name] for name in METRICS if name in changes["task"]}
    return {"arm": arm, "seed": seed, "task": task, "retention": changes.get("retention", {}).get("nll")}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    data = Path(os.environ["TUNESMITH_TEST_DATA"])
    cells = []
    for arm in ARMS:
        for seed in range(options.seeds):
            cells.append(measured(data, options.out, arm, seed))
            print(json.dumps(cells[-1]), file=sys.stderr, flush=True)
    found = {
        "cells": cells,
        "mean_accuracy": {
            arm: statistics.fmean(one["task"]["accuracy"]["after"]["value"] for one in cells if one["arm"] == arm)
            for arm in ARMS
        },
    }
    write_json(RESULTS, found)
    print(json.dumps(found if options.json else found["mean_accuracy"], indent=2))


if __name__ == "__main__":
    main()
