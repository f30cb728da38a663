"""``train.optimizer_in_backward``: where it is right, and the refusals where it is not."""

from __future__ import annotations

from dataclasses import replace

from tunesmith.contracts.method import Attached
from tunesmith.engine.loop import Job
from tunesmith.engine.stepping import Stepping
from tunesmith.errors import UserError


def step_in_backward(job: Job, method: Attached) -> Job:
    """``job`` as its recipe asks; a ``UserError`` (``cannot-combine``) where something needs all gradients at once.

    ``method`` is what was attached before add-ons changed the job.
    """
    if not job.config.optimizer_in_backward:
        return job
    needs = {
        f"train.clip: {job.config.clip}": job.config.clip > 0,
        f"{job.workers.world} processes": job.workers.world > 1,
        "an adapter, whose gradients are small": job.attached.artifact != "model",
        "an add-on that weighs or moves the parameters": bool(job.penalties) or job.attached is not method,
        "an objective that goes through an update in pieces": job.objective.in_pieces,
    }
    found = [words for words, needed in needs.items() if needed]
    if found:
        raise UserError(
            "train.optimizer_in_backward drops each gradient as soon as its parameter is stepped",
            got="; ".join(found),
            allowed="train.clip: 0, the methods full and freeze, one process",
            code="cannot-combine",
        )
    return replace(job, stepping=Stepping(job.weights, job.optimizer))
