"""``tunesmith demo``: the whole journey on the embedded model, on a CPU, without a network."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.events import Sink
from tunesmith.recipe import Part, Recipe
from tunesmith.run.stages import train

ANSWERS = 7


def demo_recipe() -> Recipe:
    """LoRA instruction tuning of Seedling on its own generated rows: a few minutes on two cores."""
    return Recipe(
        name="demo",
        model={"base": "embedded"},
        data={"max_tokens": 256, "validation": 0.1},
        method=Part(name="lora", rank=16, alpha=32),
        objective=Part(name="sft"),
        train={"epochs": 3, "batch_size": 16, "learning_rate": 2e-3, "evaluate_every": 100, "save_every": 200},
        evaluate={"prompts": 140, "max_new_tokens": 48},
    )


def demo(out: str | Path | None = None, *, sinks: tuple[Sink, ...] = ()) -> dict[str, Any]:
    """Run it; returns ``run, finished, before, after, forgetting, proofs, answers, seconds``."""
    started = time.perf_counter()
    run = train(demo_recipe(), out=out or free_folder(Path("runs/demo")), sinks=sinks)
    report = run.summary()
    if not report["finished"]:
        return {**report, "seconds": round(time.perf_counter() - started, 1)}
    before, after = run.read("eval/before.json"), run.read("eval/after.json")
    return {
        "run": report["run"],
        "finished": True,
        "before": before["task"],
        "after": after["task"],
        "forgetting": {
            "before": before["retention"],
            "after": after["retention"],
            "nats_per_token": report["forgetting"],
        },
        "proofs": report["proofs"],
        "answers": side_by_side(before["answers"], after["answers"]),
        "seconds": round(time.perf_counter() - started, 1),
    }


def free_folder(wanted: Path) -> Path:
    """``wanted``, or ``wanted-2``, ``wanted-3`` … where that is taken."""
    number, folder = 1, wanted
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


def side_by_side(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """A few questions with both answers, spread evenly over the prompts."""
    step = max(1, len(after) // ANSWERS)
    return [
        {
            "question": _question(then["prompt"]),
            "wanted": then["reference"],
            "before": first["answer"],
            "after": then["answer"],
        }
        for first, then in list(zip(before, after, strict=True))[::step][:ANSWERS]
    ]


def _question(prompt: str) -> str:
    """The last user turn of a rendered prompt."""
    turn = prompt.rsplit("<|im_start|>user\n", 1)[-1]
    return turn.split("<|im_end|>", 1)[0].strip()
