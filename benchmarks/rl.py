"""PPO and GRPO raise verifiable rewards on Seedling: arithmetic with two digits, and questions about words.

    python benchmarks/rl.py --json                                   every cell: 2 tasks x 2 algorithms x 3 seeds
    python benchmarks/rl.py --cells arithmetic-grpo --seeds 0 --out DIR     (finished runs in DIR are found again)

A model is fine-tuned first (SFT) on rows as careless people answer them: half of them evade the question. Reinforcement
then sees other questions and nothing but whether an answer is right. The exam asks what is in neither stage: sums and
differences of operands, and words, that no row mentions; of products (all of which the base has read about) the pairs
of a third. Rewards are shares of right answers, of four samples at temperature 1 a question and of the greedy one.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import torch

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Record
from tunesmith.engine.sinks.jsonl import read
from tunesmith.files import write_json, write_text
from tunesmith.metrics.intervals import mean_interval, paired_difference
from tunesmith.models.seedling.texts import arithmetic as sums
from tunesmith.models.seedling.texts.words import vocabulary
from tunesmith.models.seedling.world import grow
from tunesmith.recipe import Recipe
from tunesmith.run import Run, train
from tunesmith.run.rollouts import best_of_held_out
from tunesmith.run.rows import prepare_with
from tunesmith.run.session import Session
from tunesmith.run.use import open_run
from tunesmith.seed import derive

RESULTS = Path(__file__).resolve().parent / "results" / "rl.json"
SFT_STEPS, HELD_OUT = {"arithmetic": 700, "words": 150}, 150
RL_STEPS = {"words-grpo": 16, "words-ppo": 24, "arithmetic-grpo": 96, "arithmetic-ppo": 120}
SAMPLES = 4
SFT_ROWS, ROWS = {"arithmetic": 4000, "words": 600}, {"arithmetic": 600, "words": 600}
"""Of different questions: for fine-tuning, and for reinforcement."""
LORA = {"name": "lora", "rank": 16, "alpha": 32}
EVASION = " hard to say."
TASKS: dict[str, dict[str, Any]] = {
    "words": {"rewards": [{"name": "exact"}], "max_new_tokens": 20},
    "arithmetic": {"rewards": [{"name": "numeric"}], "max_new_tokens": 8},
}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "grpo": {"name": "grpo", "answers": 8, "kl": 0.01},
    "ppo": {"name": "ppo", "answers": 4, "mini_epochs": 2, "kl": 0.01},
}
TRAIN: dict[str, dict[str, Any]] = {
    "grpo": {"batch_size": 12, "learning_rate": 5e-4},
    "ppo": {"batch_size": 24, "learning_rate": 5e-4},
}


class Asker:
    """Questions of one side of the split with their answers, as texts that go on from one another."""

    def __init__(self, seed: int, *, held_out: bool) -> None:
        self.rng, self.world, self.held_out = Random(f"rl:{seed}:{held_out}"), grow(), held_out
        self.words = [word for word in vocabulary() if self.world.held_out(word) == held_out]

    def arithmetic(self) -> tuple[str, str]:
        """A product of numbers up to 10, a sum or a difference of two-digit numbers."""
        sign = self.rng.choice("x+-")
        problem = sums.draw(self.rng, self.world, sign, held_out=self.held_out)
        while sign == "x" and kept(problem) != self.held_out:
            problem = sums.draw(self.rng, self.world, sign, held_out=self.held_out)
        a, b = problem.a, problem.b
        said = {"x": "times", "+": "plus", "-": "minus"}[sign]
        prompt = self.rng.choice((f"{a} {sign} {b} =", f"{a} {said} {b} is", f"{a} {said} {b} equals"))
        return prompt, f" {problem.answer}."

    def word(self) -> tuple[str, str]:
        """How a word is spelled, its last letter, or how many it has."""
        word = self.rng.choice(self.words)
        spelled = "-".join(word)
        return self.rng.choice(
            [
                (f'"{word}" is spelled', f" {spelled}."),
                (f'The last letter of "{word}" is', f" {word[-1]}."),
                (f'"{word}" has', f" {len(word)} letters: {spelled}."),
            ]
        )

    def rows(self, task: str, count: int, *, evasive: float = 0.0) -> list[dict[str, str]]:
        """Different questions, answered rightly but for a share that is evaded."""
        make = self.arithmetic if task == "arithmetic" else self.word
        found: dict[str, dict[str, str]] = {}
        for _ in range(50 * count):
            prompt, answer = make()
            said = EVASION if self.rng.random() < evasive else answer
            found.setdefault(prompt, {"prompt": prompt, "completion": said})
            if len(found) == count:
                break
        return list(found.values())


def kept(product: sums.Sum) -> bool:
    """Whether a product is kept for the exam."""
    return derive(0, sums.pair_key(product)) % 3 == 0


def write_rows(folder: Path) -> None:
    """The rows of both stages."""
    taught, asked, held_out = Asker(0, held_out=False), Asker(1, held_out=False), Asker(2, held_out=True)
    files = {}
    for task, count in ROWS.items():
        files[f"{task}-sft"] = taught.rows(task, SFT_ROWS[task], evasive=0.5)
        files[f"{task}-sft-held-out"] = held_out.rows(task, 60, evasive=0.5)
        files[task] = asked.rows(task, count)
        files[f"{task}-held-out"] = held_out.rows(task, HELD_OUT)
    for name, rows in files.items():
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def recipe(name: str, folder: Path, rows: str, held_out: str, **options: Any) -> Recipe:
    """A recipe on Seedling with the rows of ``folder``."""
    given = {"base": "embedded", "threads": 1, "dtype": "float32", **options.pop("model", {})}
    data = {"train": [{"path": str(folder / f"{rows}.jsonl")}], "max_tokens": 64, "workers": 1}
    data["validation"] = [{"path": str(folder / f"{held_out}.jsonl")}]
    plain = {"retention": "none", "proofs": "off", **options}
    return Recipe(name=name, model=given, data=data, **plain)


def once(asked: Recipe, out: Path) -> Run:
    """The run of ``asked`` in ``out``, trained where it is not there yet."""
    done = (out / "report.json").is_file() and json.loads((out / "report.json").read_text())["finished"]
    return Run.open(out) if done else train(asked, out=out, resume=(out / "recipe.yaml").is_file())


def fine_tuned(folder: Path, task: str) -> Run:
    """The model that reinforcement starts from."""
    schedule = {
        "steps": SFT_STEPS[task],
        "batch_size": 32,
        "learning_rate": 1e-3,
        "evaluate_every": 75,
        "save_every": 75,
    }
    asked = recipe(
        f"{task}-sft", folder, f"{task}-sft", f"{task}-sft-held-out", method=LORA,
        train={**schedule, "early_stopping": None}, evaluate={"before": False, "prompts": 0},
    )  # fmt: skip
    return once(asked, folder / f"{task}-sft")


def reinforced(folder: Path, start: Run, task: str, algorithm: str, seed: int) -> Run:
    """One cell."""
    options = TASKS[task]
    objective = {**ALGORITHMS[algorithm], "rewards": options["rewards"], "max_new_tokens": options["max_new_tokens"]}
    schedule = {
        "steps": RL_STEPS[f"{task}-{algorithm}"],
        "schedule": "linear",
        "warmup": 2,
        "evaluate_every": 1000,
        "save_every": 1000,
    }
    asked = recipe(
        f"{task}-{algorithm}", folder, task, f"{task}-held-out", model={"start": str(start.folder)}, seed=seed,
        method=LORA, objective=objective,
        train={**schedule, **TRAIN[algorithm], "early_stopping": None}, evaluate={"prompts": HELD_OUT},
    )  # fmt: skip
    return once(asked, folder / f"{task}-{algorithm}-{seed}")


def cell(run: Run) -> dict[str, Any]:
    """The numbers of a finished run: rewards in percent, before and after, greedy and sampled; KL in nats an answer."""
    report = json.loads((run.folder / "report.json").read_text())
    rollouts = [event for event in read(run.events) if event["kind"] == "rollout"]
    change = report["changes"]["task"]["reward"]["change"]
    last = rollouts[-5:]

    def over(name: str, events: list[dict[str, Any]]) -> float:
        return round(mean(float(event[name]) for event in events), 4)

    before, after = sampled(run)
    return {
        "before": percent(mean_interval(before).as_dict()),
        "after": percent(mean_interval(after).as_dict()),
        "change": percent(paired_difference(before, after).as_dict()),
        "greedy": {name: percent(report[name]["reward"]) for name in ("before", "after")},
        "greedy_change": percent(change),
        "kl": over("kl", last),
        "entropy": [over("entropy", rollouts[:2]), over("entropy", last)],
        "answer_tokens": [over("answer_tokens", rollouts[:2]), over("answer_tokens", last)],
        "seconds": report["seconds"],
        "rewards": [round(event["reward"], 4) for event in rollouts],
        "kls": [round(event["kl"], 4) for event in rollouts],
    }


def sampled(run: Run) -> tuple[list[float], list[float]]:
    """The mean reward of ``SAMPLES`` answers to each held-out question, of the start and of the tuned model."""
    session = open_run(run)
    held_out, records = held_out_of(session)
    with session.attached.off():
        before = best_of_held_out(session, held_out, records, n=SAMPLES)
    after = best_of_held_out(session, held_out, records, n=SAMPLES)
    return [mean(one.rewards) for one in before.chosen], [mean(one.rewards) for one in after.chosen]


def held_out_of(session: Session) -> tuple[list[Example], dict[int, Record]]:
    """The questions of the exam with the rows behind them."""
    prepared = prepare_with(session.recipe, session.encoder)
    held_out = list(prepared.validation)
    return held_out, prepared.records({one.row for one in held_out})


def percent(estimate: dict[str, Any]) -> dict[str, Any]:
    """An estimate in points of a hundred."""
    return {name: round(100 * value, 2) if name != "n" else value for name, value in estimate.items()}


def best(run: Run) -> dict[str, Any]:
    """The best of 8 answers of the model that ``run`` started from beside a single one, by the run's reward."""
    session = open_run(run)
    held_out, records = held_out_of(session)
    with session.attached.off():
        found = best_of_held_out(session, held_out, records, n=8)
    estimates = {"one": found.one, "best": found.best, "gain": found.gain}
    return {**{name: percent(one.as_dict()) for name, one in estimates.items()}, "kl_bound": round(found.kl_bound, 3)}


def summary(cells: dict[str, dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Of each cell's seeds, in points: mean rewards before and after, the mean and the least change; KL in nats."""
    found = {}
    for name in names:
        own = [values for key, values in cells.items() if key.rpartition("-")[0] == name]
        if own:
            found[name] = {
                "seeds": len(own),
                "greedy": changed(
                    [one["greedy"]["before"]["value"] for one in own], [one["greedy"]["after"]["value"] for one in own]
                ),
                "sampled": changed([one["before"]["value"] for one in own], [one["after"]["value"] for one in own]),
                "kl": round(mean(one["kl"] for one in own), 3),
                "seconds": round(mean(one["seconds"] for one in own)),
            }
    return found


def changed(before: list[float], after: list[float]) -> dict[str, float]:
    """Means over seeds, and the least and the mean change."""
    changes = [new - old for old, new in zip(before, after, strict=True)]
    return {
        "before": round(mean(before), 2),
        "after": round(mean(after), 2),
        "change": round(mean(changes), 2),
        "least_change": round(min(changes), 2),
    }


def main() -> None:
    """Run the cells and write the results; those of cells that were not asked for stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [f"{task}-{algorithm}" for task in TASKS for algorithm in ALGORITHMS]
    parser.add_argument("--cells", default=",".join(names), help="comma-separated")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=Path("runs/rl"))
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    given = parser.parse_args()
    if not (given.out / "words.jsonl").is_file():
        write_rows(given.out)
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"cells": {}, "best_of": {}}
    for name in given.cells.split(","):
        task, _, algorithm = name.partition("-")
        start = fine_tuned(given.out, task)
        for seed in map(int, given.seeds.split(",")):
            run = reinforced(given.out, start, task, algorithm, seed)
            results["cells"][f"{name}-{seed}"] = cell(run)
            found = results["cells"][f"{name}-{seed}"]
            say(f"{name}-{seed}: greedy {found['greedy_change']}, sampled {found['change']}")
        if task not in results["best_of"]:
            results["best_of"][task] = best(run)
            say(f"{task}: {results['best_of'][task]}")
        results["summary"] = summary(results["cells"], names)
        results["environment"] = {"torch": torch.__version__, "processor": platform.processor(), "threads": 1}
        write_json(RESULTS, results)
    if given.json:
        print(json.dumps(results))


def say(text: str) -> None:
    """Words go to stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
