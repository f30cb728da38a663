"""Updates of each tuning method beside full fine-tuning's, and beside what the formula of their FLOPs lets expect.

    python benchmarks/method_speed.py [--task sst2] [--methods lora,qlora] [--rounds 20] [--json]

One thread. All methods stand side by side and take turns, update by update, on the same rows; medians of the thread's
CPU time, so that other work on the machine counts less. *Speed* is tokens a second relative to full; *formula* is the
ratio of FLOPs a token that ``models.flops`` counts (6P a token for full, 4P + 6p for LoRA); *of formula* is speed over
formula. With ``--profile`` the operations that take longest are told for each method.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from methods import ENCODER, RESULTS, TASKS, environment
from sidebyside.job import opened
from tunesmith.bench.candidates import Candidate, chosen
from tunesmith.engine.loop import Job, one_update
from tunesmith.files import write_json
from tunesmith.models.flops import update_flops
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import validated


@dataclass
class Runner:
    """A training that makes one update when it is asked."""

    job: Job
    seconds: list[float] = field(default_factory=list)

    def update(self, step: int) -> None:
        """Make update ``step`` and note the thread's CPU seconds."""
        start = time.thread_time()
        one_update(self.job, step)
        self.seconds.append(time.thread_time() - start)

    def flops(self, steps: int) -> float:
        """Useful FLOPs of the first ``steps`` updates."""
        total = 0.0
        for step in range(steps):
            examples = self.job.feed.update(step)
            loss_tokens = sum(self.job.objective.counts(examples).values())
            total += update_flops(self.job.policy.model, [len(example) for example in examples], loss_tokens)
        return total


def runner(recipe: Recipe, candidate: Candidate, folder: Path) -> Runner:
    """``candidate`` on the model and rows of ``recipe``, at its usual rate."""
    values = recipe.model_dump() | {"method": candidate.method, "retention": "none"}
    values["model"] |= candidate.changes
    values["train"] |= {"learning_rate": candidate.rate}
    return Runner(opened(validated(Recipe, values), steps=1000, folder=folder).job)


def profiled(one: Runner, step: int) -> str:
    """The operations of an update by their own time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        one_update(one.job, step)
    return str(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=14))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(TASKS), default="sst2")
    parser.add_argument("--methods", default="lora,lora-qv,dora,adalora,qlora,adapter,bitfit,ia3,p-tuning-v2")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe, _ = TASKS[options.task](Path(os.environ["TUNESMITH_TEST_DATA"]))
    names = [name for name in options.methods.split(",") if name]
    with tempfile.TemporaryDirectory() as folder:
        runners = {one.name: runner(recipe, one, Path(folder)) for one in chosen(names, ENCODER)}
        for step in range(options.rounds + 1):
            for one in runners.values():
                one.update(step)
        if options.profile:
            for name, one in runners.items():
                print(f"{name}\n{profiled(one, options.rounds + 1)}")
    rows = {}
    whole = runners["full"]
    base, expected = statistics.median(whole.seconds[1:]), whole.flops(options.rounds)
    for name, one in runners.items():
        speed = base / statistics.median(one.seconds[1:])
        formula = expected / one.flops(options.rounds)
        rows[name] = {"speed": speed, "formula": formula, "of_formula": speed / formula}
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    results[f"{options.task}-speed"] = {"rows": rows, "rounds": options.rounds, "environment": environment()}
    write_json(RESULTS, results)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'method':14} {'speed':>6} {'formula':>8} {'of formula':>11}")
    for name, row in rows.items():
        print(f"{name:14} {row['speed']:6.2f} {row['formula']:8.2f} {row['of_formula']:11.2f}")


if __name__ == "__main__":
    main()
