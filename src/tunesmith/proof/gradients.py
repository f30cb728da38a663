"""What is trained is what the method says: those parameters have gradients, all others have none and keep every bit."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.engine.loop import accumulate, one_update
from tunesmith.proof.base import Case, Measured, Proof
from tunesmith.proof.keep import bit_sums, moving


def measure(case: Case) -> Measured:
    """How many parameters have a gradient that should not, lack one, or change in an update though frozen."""
    model = case.policy.model
    trained = {id(parameter) for parameter in case.weights.parameters.values()}
    frozen = {name for name, parameter in model.named_parameters() if id(parameter) not in trained}
    with moving(case) as folder:
        job = case.job(folder)
        accumulate(job, [case.windows], case.objective.counts(case.windows), 0)
        case.weights.collect()
        wrong = [*_stray(case, frozen), *_missing(case)]
        case.weights.drop_gradients()
        before = bit_sums(model, frozen)
        if not wrong:
            one_update(job, 0)
        after = bit_sums(model, frozen)
    return Measured.none_wrong(
        wrong + [f"{name} is frozen and changed in an update" for name in before if before[name] != after[name]]
    )


def _stray(case: Case, frozen: set[str]) -> Iterator[str]:
    for name, parameter in case.policy.model.named_parameters():
        if name in frozen and (parameter.grad is not None or parameter.requires_grad):
            parameter.grad = None
            yield f"{name} is not among the method's parameters and has a gradient"


def _missing(case: Case) -> Iterator[str]:
    for name, value in case.weights.values.items():
        if value.grad is None:
            yield f"{name} is to be trained and gets no gradient"


PROOF = Proof(
    means="exactly the method's parameters are trained; the rest of the model keeps every bit",
    mend="Name other targets in method, or report it",
    measure=measure,
    passes=4,
)
