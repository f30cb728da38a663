"""No row sees another: the gradient of one row's loss with respect to the embeddings of the others is exactly zero.

Equal numbers cannot show this in bfloat16, where rounding hides a leak; a zero that is exact can. Measured as the model
trains: with the adapter, in the training dtype and mode.
"""

from __future__ import annotations

from typing import Any

import torch

from tunesmith.proof.base import Case, Measured, Proof
from tunesmith.proof.keep import stirred


def measure(case: Case) -> Measured:
    """The largest foreign gradient, over all pairs of windows; 0.0 is the bound in every dtype."""
    with stirred(case):
        case.policy.train()
        reaching = _reaches(case)
    own = min(float(reach[unit]) for unit, reach in enumerate(reaching))
    foreign = max(float(value) for unit, reach in enumerate(reaching) for at, value in enumerate(reach) if at != unit)
    if own == 0.0:
        return Measured(False, own, "above 0", "a row's loss does not depend on its own tokens")
    return Measured.below(foreign, 0.0, "a row's loss depends on the tokens of another row in the batch")


def _reaches(case: Case) -> list[torch.Tensor]:
    """For each unit ``[S]``: the largest gradient of its loss with respect to the embeddings of each window."""
    embedded: list[torch.Tensor] = []

    def keep(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    handle = case.policy.model.get_input_embeddings().register_forward_hook(keep)
    try:
        batch = case.batch(case.windows)
        terms = case.objective.loss(case.policy(batch, case.objective.want), batch)
    finally:
        handle.remove()
    losses = [torch.stack([term.values[unit] for term in terms]).sum() for unit in range(len(case.windows))]
    gradients = [torch.autograd.grad(loss, embedded[-1], retain_graph=True)[0] for loss in losses]
    return [_largest(gradient, batch.main.layout.lengths) for gradient in gradients]


def _largest(gradient: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor:
    """``[S]``: the largest value in the part of each window, of a padded or a flat ``gradient``."""
    parts = gradient.unbind(0) if gradient.shape[0] == len(lengths) else gradient[0].split(lengths)
    return torch.stack([part.abs().max() for part in parts])


PROOF = Proof(
    means="no row's loss depends on another row of its batch",
    mend="Set model.driver: padded, and report the model family",
    measure=measure,
    passes=7,
)
