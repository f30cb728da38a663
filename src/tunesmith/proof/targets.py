"""Every sequence of the store has a token to learn: one without would be counted as trained and teach nothing."""

from __future__ import annotations

import numpy as np

from tunesmith.proof.base import Case, Measured, Proof


def measure(case: Case) -> Measured:
    """How many sequences of the whole store have no target (the first token of a sequence never is one)."""
    here = [example.targets for example in case.examples]
    counts = np.asarray(here if case.targets is None else case.targets)
    empty = int((counts == 0).sum()) + (case.targets is not None and 0 in here)
    detail = f"{empty} of {len(counts)} sequences have no trained token"
    if len(counts) == 0:
        return Measured(False, 0, "at least 1 sequence", "there is no sequence to train on")
    return Measured(empty == 0, int(counts.min()), 1, detail)


PROOF = Proof(
    means="every row has at least one trained token",
    mend="Look at them with `tunesmith data show`; set objective.train_on, or raise data.max_tokens",
    measure=measure,
    passes=0,
    of_rows=True,
)
