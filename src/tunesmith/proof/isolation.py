"""No row sees another: the gradient of one row's loss with respect to the embeddings of the others is exactly zero.

Equal numbers cannot show this in bfloat16, where rounding hides a leak; a zero that is exact can. Measured as the model
trains: with the adapter, in the training dtype and mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tunesmith.proof.base import Case, Measured, Proof
from tunesmith.proof.keep import stirred
from tunesmith.proof.sequences import Whole, wholes


def measure(case: Case) -> Measured:
    """The largest foreign gradient, over all pairs of sequences; 0.0 is the bound in every dtype."""
    with stirred(case):
        case.policy.train()
        reaching = _reaches(case)
    own = min(reach.own for reach in reaching)
    if own == 0.0:
        return Measured(False, own, "above 0", "a row's loss does not depend on its own tokens")
    foreign = max(reach.foreign for reach in reaching)
    return Measured.below(foreign, 0.0, "a row's loss depends on the tokens of another row in the batch")


@dataclass(frozen=True)
class _Reach:
    """The largest gradient of a loss with respect to embeddings: of its own sequence, and of all others."""

    own: float
    foreign: float


def _reaches(case: Case) -> list[_Reach]:
    """For each sequence: how far its loss reaches. Of several answers to a question each is one of its own."""
    embedded: list[torch.Tensor] = []

    def keep(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    batch = case.batch(case.windows)
    handle = case.policy.model.get_input_embeddings().register_forward_hook(keep)
    try:
        outputs = case.policy(batch, case.objective.want)
    finally:
        handle.remove()
    sequences = wholes(batch.main.layout)
    if batch.main.layout.parents is None:
        terms = case.objective.loss(outputs, batch)
        losses = torch.stack([term.values for term in terms if term.weight]).sum(dim=0)
    else:  # the loss of a pair is meant to depend on both answers: what is read of each is looked at alone
        read = case.read(outputs).flatten(1).sum(dim=1) if case.read(outputs).ndim > 1 else case.read(outputs)
        losses = read.new_zeros(len(sequences)).index_add(0, batch.readout.unit, read)
    gradients = [torch.autograd.grad(loss, embedded[-1], retain_graph=True)[0] for loss in losses]
    return [_reach(gradient, sequences, unit) for unit, gradient in enumerate(gradients)]


def _reach(gradient: torch.Tensor, sequences: Sequence[Whole], unit: int) -> _Reach:
    """Of a flat ``gradient [1, T, d]``, or a padded one ``[U, L, d]`` with whole sequences as rows."""
    size = gradient.abs().amax(dim=-1)
    mine = torch.zeros_like(size, dtype=torch.bool)
    if size.shape[0] == len(sequences) > 1:
        # a beginning is read in the first sequence that has it
        for row, other in enumerate(sequences):
            if other.beginning == sequences[unit].beginning:
                mine[row, : other.beginning.stop - other.beginning.start] = True
        mine[unit] = True
    else:
        mine[0, sequences[unit].rows()] = True
    return _Reach(float(size[mine].max()), float(size.masked_fill(mine, 0.0).max()))


PROOF = Proof(
    means="no row's loss depends on another row of its batch",
    mend="Set model.driver: padded, and report the model family",
    measure=measure,
    applies=lambda case: case.objective.decomposes,
    passes=7,
)
