"""``report.json`` while a run trains and at its end: where it stands, how fast it was, and what it cost."""

from __future__ import annotations

from itertools import islice
from typing import Any

from tunesmith.data.prepare import Prepared
from tunesmith.diagnosis.noise import noise_scale
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import Job
from tunesmith.engine.sinks.jsonl import read
from tunesmith.models import precision
from tunesmith.models.flops import update_flops
from tunesmith.run import rollouts
from tunesmith.run.environment import peak_memory
from tunesmith.run.order import plain_feed
from tunesmith.run.session import Session
from tunesmith.run.so_far import summed
from tunesmith.run.stage import Stage


def steps_of(session: Session, prepared: Prepared) -> int:
    """Updates in the whole run."""
    recipe = session.recipe
    plan = rollouts.plan_of if session.parts.objective.samples else plain_feed
    return recipe.train.steps or max(1, plan(recipe, prepared).steps_in(recipe.train.epochs))


def losses(stage: Stage) -> list[float]:
    """The loss of every update, as far as it was a number."""
    found = (event.get("loss") for event in read(stage.run.events) if event["kind"] == "step")
    return [loss for loss in found if loss is not None]


def outcome(stage: Stage, job: Job, progress: Progress, *, finished: bool) -> dict[str, Any]:
    """What is known without an exam."""
    speed = progress.tokens / progress.seconds if progress.seconds else 0.0
    events = read(stage.run.events)
    steps, noise = [event for event in events if event["kind"] == "step"], noise_scale(events)
    return {
        "run": str(stage.run.folder),
        "finished": finished,
        "stopped_early": progress.stopped_early,
        "steps": progress.step,
        "best_step": progress.best_step,
        "train_loss": progress.last.get("train_loss"),
        "validation_loss": progress.best if _watches_loss(stage) else progress.last.get("validation_loss"),
        "tokens_per_second": round(speed, 1),
        "useful_fraction": _useful(stage, job, progress),
        "peak_memory_bytes": peak_memory(stage.session.device),
        "trainable_parameters": stage.session.weights.count,
        "task_head": stage.session.task is not None,
        "trunk_cache": None if stage.trunk is None else stage.trunk.as_dict(),
        "seconds": round(progress.seconds, 2),
        "tokens": progress.tokens,
        "noise_scale": None if noise is None else noise.as_dict(),
        "energy_joules": summed(steps, "joules"),
        "cpu_seconds": summed(steps, "cpu_seconds"),
        "proofs": stage.run.read("proof.json").get("proofs", []),
    }


def _watches_loss(stage: Stage) -> bool:
    stopping = stage.session.recipe.train.early_stopping
    return stopping is None or stopping.metric == "validation_loss"


def _useful(stage: Stage, job: Job, progress: Progress) -> float | None:
    """Useful FLOPs a second as a share of the measured matrix-product rate."""
    if not progress.seconds:
        return None
    speed = progress.tokens / progress.seconds
    trunk = 1.0 if stage.trunk is None else stage.trunk.share_run
    return round(speed * flops_per_token(stage, job, trunk=trunk) / peak_flops(stage.session), 4)


def flops_per_token(stage: Stage, job: Job, *, trunk: float = 1.0) -> float:
    """Useful FLOPs of a real token, from the shape of the first update (of prompts, where answers are yet to come).

    ``trunk`` is the share of tokens for which the frozen lower layers are run.
    """
    if job.objective.samples:
        first = islice(stage.prepared.train, job.config.batch_size)
        examples = [rollouts.read_whole(one) for one in first]
    else:
        examples = list(job.feed.update(0))
    targets = float(sum(example.targets for example in examples))
    lengths = [len(example) for example in examples]
    return update_flops(stage.session.model, lengths, targets, trunk=trunk) / sum(lengths)


def peak_flops(session: Session) -> float:
    """Matrix-product FLOPs a second that this hardware reaches in the run's dtype, with the threads in use."""
    measured = precision.speeds(session.device)
    return measured.bfloat16 if session.recipe.model.dtype == "bfloat16" else measured.float32
