"""What is saved is what was trained: after loading it back the model gives the same numbers, bit for bit.

The weights are scrambled between saving and loading, so that whatever is not in the folder shows.
"""

from __future__ import annotations

import torch

from tunesmith.engine.checkpoint import values_of
from tunesmith.errors import UserError
from tunesmith.proof.base import Case, Measured, Proof
from tunesmith.proof.keep import moving, scramble


def measure(case: Case) -> Measured:
    """The largest difference of a log-probability before saving and after loading; 0.0 is the bound in every dtype."""
    with moving(case) as folder:
        scramble(case.weights, 1)
        before = case.logprobs(case.windows)
        case.attached.save(folder / "saved", values_of(case.weights))
        scramble(case.weights, 2)
        if torch.equal(case.logprobs(case.windows), before):
            return Measured(False, 0.0, "above 0", "the trained parameters have no influence on the model")
        try:
            case.attached.load(folder / "saved")
        except UserError as error:  # what was saved a moment ago is no mistake of the user's
            return Measured(False, None, 0.0, error.sentence())
        after = case.logprobs(case.windows)
    return Measured.below(float((after - before).abs().max()), 0.0, "the saved model gives other numbers")


PROOF = Proof(
    means="what is saved and loaded again gives the same numbers, bit for bit",
    mend="Something that is trained is not in the saved folder: report it",
    measure=measure,
    passes=3,
)
