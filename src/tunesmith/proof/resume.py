"""A stopped run goes on as if it had not been: three updates give the weights of one, a checkpoint, and two more."""

from __future__ import annotations

from tunesmith.engine import checkpoint
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import one_update
from tunesmith.proof.base import Bounds, Case, Measured, Proof
from tunesmith.proof.keep import BEFORE, differing, moving, read, scramble, write

EXACT = 0.0
ON_GPU = Bounds(
    float32=1e-5,
    bfloat16=1e-3,
    reason="On a GPU kernels add in any order, so two equal runs already differ; after three updates by this much.",
)


def measure(case: Case) -> Measured:
    """The largest difference of a weight; on a CPU the bound is 0.0, because nothing there depends on order."""
    with moving(case) as folder:
        remembered = {name: value.clone() for name, value in case.attached.state().items()}
        straight = case.job(folder)
        for step in range(3):
            one_update(straight, step)
        write(case.weights, folder / "straight.safetensors")
        del straight
        read(case.weights, folder / BEFORE)
        case.attached.restore(remembered)
        stopped = case.job(folder)
        one_update(stopped, 0)
        state = case.attached.state()
        checkpoint.save(folder / "checkpoints", Progress(step=1), case.weights, stopped.optimizer, state=state)
        del stopped
        scramble(case.weights, 3)
        case.attached.restore(remembered)
        resumed = case.job(folder)
        found = checkpoint.newest(folder / "checkpoints")
        assert found is not None
        case.attached.restore(checkpoint.restore(found.path, case.weights, resumed.optimizer))
        for step in range(found.progress.step, 3):
            one_update(resumed, step)
        different = differing(case.weights, folder / "straight.safetensors")
    bound = EXACT if case.policy.device.type == "cpu" else ON_GPU.of(case.dtype)
    detail = f"{len(different)} parameters differ, first {different[0][0]}" if different else ""
    return Measured.below(max((size for _, size in different), default=0.0), bound, detail)


PROOF = Proof(
    means="a stopped and resumed run has the weights of one that was never stopped",
    mend="Something that training depends on is not in the checkpoint: report it",
    measure=measure,
    passes=6,
)
