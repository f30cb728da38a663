"""Where a training stands, by its record alone: also while it runs, and of one that was stopped."""

from __future__ import annotations

from typing import Any

from tunesmith.diagnosis.noise import noise_scale
from tunesmith.diagnosis.sources import by_source, mean
from tunesmith.engine.sinks.jsonl import read
from tunesmith.run.folder import Run

LAST = 10
"""Updates whose mean is told as the present loss."""


def so_far(run: Run) -> dict[str, Any]:
    """``{step, steps, loss, by_source, validation, norm, update_ratio, noise_scale, energy_joules, cpu_seconds,
    samples}`` of the newest stage; what was not measured is None (or empty).

    Losses are means of the last updates, energy and processor time sums over all; ``samples`` are the answers to a few
    held-out prompts, ``{step, answers: [{prompt, reference, answer, stopped}]}``, one for each evaluation.
    """
    events = read(run.last_stage.events)
    steps = [event for event in events if event["kind"] == "step"]
    losses = [event["loss"] for event in steps[-LAST:] if event["loss"] is not None]
    noise = noise_scale(events)
    samples = {event["step"]: event["answers"] for event in events if event["kind"] == "samples"}
    evaluations = [event for event in events if event["kind"] == "evaluation"]
    return {
        "step": steps[-1]["step"] if steps else 0,
        "steps": next((event["steps"] for event in reversed(events) if event["kind"] == "start"), None),
        "loss": sum(losses) / len(losses) if losses else None,
        "by_source": {
            name: {"loss": mean(seen[-LAST:]), "units": sum(one.units for one in seen)}
            for name, seen in by_source(events).items()
        },
        "validation": {
            name.removeprefix("validation_"): value
            for name, value in (evaluations[-1] if evaluations else {}).items()
            if name.startswith("validation_")
        },
        "norm": _last(steps, "norm"),
        "update_ratio": _last(steps, "update_ratio"),
        "noise_scale": None if noise is None else noise.as_dict(),
        "energy_joules": summed(steps, "joules"),
        "cpu_seconds": summed(steps, "cpu_seconds"),
        "samples": [{"step": step, "answers": answers} for step, answers in sorted(samples.items())],
    }


def summed(steps: list[dict[str, Any]], key: str) -> float | None:
    """A number of every update, over all sessions of a run; None where one of them has none."""
    whole = bool(steps) and all(key in step for step in steps)
    return round(sum(step[key] for step in steps), 3) if whole else None


def _last(steps: list[dict[str, Any]], key: str) -> Any:
    return next((step[key] for step in reversed(steps) if step.get(key) is not None), None)
