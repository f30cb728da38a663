"""A stopped run goes on as if it had not been.

Three updates leave a checkpoint after the first, as a run does. From scrambled weights, that checkpoint and two more
updates give the same weights.
"""

from __future__ import annotations

from tunesmith.engine import checkpoint
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import one_update
from tunesmith.errors import UserError
from tunesmith.proof.base import Bounds, Case, Measured, Proof
from tunesmith.proof.keep import differing, moving, scramble, write

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
        one_update(straight, 0)
        state = case.attached.state()
        checkpoint.save(folder / "checkpoints", Progress(step=1), case.weights, straight.optimizer, method=state)
        for step in (1, 2):
            one_update(straight, step)
        write(case.weights, folder / "straight.safetensors")
        del straight
        scramble(case.weights, 3)
        case.attached.restore(remembered)
        resumed = case.job(folder)
        try:
            found = checkpoint.newest(folder / "checkpoints")
            assert found is not None
            case.attached.restore(checkpoint.restore(found.path, case.weights, resumed.optimizer))
        except UserError as error:  # what was saved a moment ago is no mistake of the user's
            return Measured(False, None, EXACT, error.sentence())
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
    passes=5,
)
