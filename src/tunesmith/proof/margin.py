"""Training starts at its reference: before the first update every answer is as likely as the reference says it is, so
all margins are 0 and no pair is preferred.

The trap it catches: dropout left on, another template or prompt in the stored log-probabilities, an adapter that is
not off, a reference of another run.
"""

from __future__ import annotations

from tunesmith.contracts.policy import Want
from tunesmith.proof.base import Bounds, Case, Measured, Proof

REFERENCE = "reference"
BOUNDS = Bounds(
    float32=1e-5,
    bfloat16=0.15,
    reason="Nats a token, as in the proof `packing`: the reference may have been computed in another batch, whose "
    "products sum in another order.",
)


def measure(case: Case) -> Measured:
    """The mean difference of a target's log-probability from the reference's."""
    batch = case.batch(case.windows)
    reference = batch.beside[REFERENCE].logprob
    assert reference is not None
    with case.still():
        own = case.policy(batch, Want(logprob=True)).logprob
    value = float((own - reference).abs().mean())
    return Measured.below(value, BOUNDS.of(case.dtype), "the model and its reference differ before anything is trained")


def _applies(case: Case) -> bool:
    begins = case.attached.identity or case.attached.artifact == "model"
    return begins and case.objective.beside.get(REFERENCE, Want(logprob=False)).logprob and REFERENCE in case.beside


PROOF = Proof(
    means="training starts at its reference: every margin is 0 before the first update",
    mend="Remove the folder `reference` of the cache; otherwise report this",
    measure=measure,
    applies=_applies,
    passes=2,
)
