"""A half-size student taught by a tuned teacher, beside the same student that learns the labels alone.

    python benchmarks/distill.py --out DIR [--seeds 3] [--json]        (resumable: finished runs are found again)

The teacher is Seedling (6 layers) tuned on instruction rows; the student its first layers (`tunesmith shallow`). Both
students see the same few rows for as many updates; what differs is the target: the teacher's distribution, or the
label. Held-out rows are neither the teacher's nor the student's. Changes are paired by row.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from tunesmith.files import write_json
from tunesmith.models.seedling import folder as embedded
from tunesmith.models.seedling.tasks import instruction_set
from tunesmith.models.shallow import write_shallow
from tunesmith.recipe import Recipe
from tunesmith.run import Run, train
from tunesmith.run.judge import Marks, compared

RESULTS = Path(__file__).resolve().parent / "results"
LAYERS, TEACHER_ROWS, STUDENT_ROWS, HELD_ROWS = 3, 3000, 800, 400
SHARED: dict[str, Any] = {
    "method": "full",
    "retention": "none",
    "proofs": "off",
    "evaluate": {"prompts": 200, "before": False},
}


def rows(path: Path, split: str, count: int, seed: int) -> Path:
    """A file of instruction rows, written once."""
    if not path.is_file():
        made = instruction_set("all", seed=seed, split=split, n=count)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")
    return path


def trained(out: Path, name: str, values: dict[str, Any]) -> Run:
    """The run ``name``, trained or found."""
    folder = out / name
    if not Run(folder).finished:
        train(Recipe.model_validate(SHARED | {"name": name} | values), out=folder, resume=Run(folder).begun)
    return Run(folder)


def measure(out: Path, seeds: int) -> dict[str, Any]:
    """Both students for every seed, and their paired differences."""
    out.mkdir(parents=True, exist_ok=True)
    held = rows(out / "held.jsonl", "held-out", HELD_ROWS, 99)
    teacher = trained(
        out,
        "teacher",
        {
            "model": {"base": "embedded", "threads": 1},
            "data": {
                "train": [str(rows(out / "teacher.jsonl", "train", TEACHER_ROWS, 0))],
                "validation": [{"path": str(held)}],
            },
            "objective": "sft",
            "train": {"epochs": 3, "batch_size": 32, "learning_rate": 1e-3, "evaluate_every": 100},
        },
    )
    student = out / "student"
    if not student.is_dir():
        write_shallow(str(embedded()), LAYERS, student)
    cells = []
    for seed in range(seeds):
        few = rows(out / f"few-{seed}.jsonl", "train", STUDENT_ROWS, 1000 + seed)
        base = {
            "seed": seed,
            "model": {"base": str(student), "threads": 1},
            "data": {"train": [str(few)], "validation": [{"path": str(held)}]},
            "train": {
                "epochs": 6,
                "batch_size": 32,
                "learning_rate": 1e-3,
                "evaluate_every": 50,
                "early_stopping": {"patience": 20},
            },
        }
        labels = trained(out, f"labels-{seed}", base | {"objective": "sft"})
        taught = trained(
            out,
            f"taught-{seed}",
            base | {"objective": {"name": "distill", "teacher": str(teacher.folder)}},
        )
        pair = (labels, taught)
        marks = [Marks.from_dict(run.read("eval/after.json")) for run in pair]
        changes = {one.metric: one.change.as_dict() for one in compared(*marks) if one.change is not None}
        values = [{name: one["value"] for name, one in run.read("eval/after.json")["task"].items()} for run in pair]
        cells.append({"seed": seed, "labels": values[0], "taught": values[1], "changes": changes})
        print(json.dumps(cells[-1]), file=sys.stderr)
    names = cells[0]["changes"]
    mean = {name: statistics.fmean(cell["changes"][name]["value"] for cell in cells) for name in names}
    return {"cells": cells, "mean_change": mean, "rows": STUDENT_ROWS, "layers": LAYERS}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.out, options.seeds)
    write_json(RESULTS / "distill.json", found)
    print(json.dumps(found if options.json else found["mean_change"], indent=2))


if __name__ == "__main__":
    main()
