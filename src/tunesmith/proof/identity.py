"""An adapter that promises to start as the base does: with it and without it the model gives the same numbers."""

from __future__ import annotations

from tunesmith.proof.base import Bounds, Case, Measured, Proof

BOUNDS = Bounds(
    float32=1e-5,
    bfloat16=1e-5,
    reason="Adding zero changes no bit in any dtype; adapted layers see rows in another shape, for which a matrix "
    "product may sum in another order, and no more than that.",
)


def measure(case: Case) -> Measured:
    """The largest difference of a log-probability with and without the adapter."""
    on = case.logprobs(case.windows)
    with case.attached.off():
        off = case.logprobs(case.windows)
    return Measured.below(
        float((on - off).abs().max()), BOUNDS.of(case.dtype), "the adapter changes the model before it is trained"
    )


PROOF = Proof(
    means="before the first update the adapted model answers as its base",
    mend="The method's initial values are wrong: report it, or start from the base with another method",
    measure=measure,
    applies=lambda case: case.attached.identity and case.attached.artifact == "adapter",
    passes=2,
)
