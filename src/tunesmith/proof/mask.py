"""The trained tokens that `tunesmith data show` marks are those the loss reads, no more and no fewer.

Shown in three ways: the rows in the store are those the recipe renders now; the loss has a gradient with respect to the
log-probability of exactly the marked tokens; and with other labels put under all unmarked tokens (the input unchanged)
the loss keeps every bit, while another label under a marked token changes its log-probability.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoding
from tunesmith.contracts.policy import Outputs
from tunesmith.proof.base import Case, Measured, Proof


def measure(case: Case) -> Measured:
    """How many things are not as they are shown."""
    true = case.logprobs(case.windows)
    return Measured.none_wrong([*_stale(case), *_other_set(case, true), *_other_labels(case, true)])


def _stale(case: Case) -> list[str]:
    """Stored sequences that are not (a piece of) what the recipe renders from their row now."""
    wrong = []
    for example in case.examples:
        record = case.records.get(example.row)
        if record is not None:
            encodings = case.objective.encode(record, case.encoder)
            if not any(_holds(encoding, example) for encoding in encodings):
                wrong.append(f"row {example.row + 1} is stored with other tokens or marks than it is rendered with")
    return wrong


def _holds(encoding: Encoding, example: Example) -> bool:
    """Whether ``example`` is a piece of ``encoding`` with the same marks (a piece's first token is never marked)."""
    ids, marks, size = example.ids.tolist(), example.trained.tolist(), len(example)
    return not marks[0] and any(
        encoding.ids[start : start + size] == ids and encoding.trained[start + 1 : start + size] == marks[1:]
        for start in range(len(encoding.ids) - size + 1)
    )


def _other_set(case: Case, true: torch.Tensor) -> list[str]:
    batch = case.batch(case.windows)
    logprob = true.clone().requires_grad_()
    (slope,) = torch.autograd.grad(_total(case, batch, logprob), logprob)
    read = set((batch.readout.rows[slope != 0] + 1).tolist())
    marks = np.concatenate([example.trained for example in case.windows])
    marks[batch.main.layout.starts[:-1].cpu().numpy()] = False
    shown = set(np.flatnonzero(marks).tolist())
    wrong = [f"{len(read - shown)} tokens are in the loss but not marked"] if read - shown else []
    return wrong + ([f"{len(shown - read)} marked tokens are not in the loss"] if shown - read else [])


def _other_labels(case: Case, true: torch.Tensor) -> list[str]:
    batch = case.batch(case.windows)
    vocabulary = int(case.policy.model.get_input_embeddings().weight.shape[0])
    marks = torch.from_numpy(np.concatenate([example.trained for example in case.windows])).to(batch.main.ids.device)
    others = torch.where(marks, batch.main.ids, (batch.main.ids + 1) % vocabulary)
    wrong = []
    with torch.no_grad():
        masked = _relabelled(case, batch, others)
        if float(_total(case, batch, true)) != float(_total(case, masked, _read(case, masked))):
            wrong.append("labels of unmarked tokens change the loss")
        far = batch.main.ids.scatter(0, batch.readout.rows + 1, _far_labels(case, batch))
        moved = _read(case, _relabelled(case, batch, far))
        same = int((moved == true).sum()) if len(moved) == len(true) else len(true)
    return wrong + ([f"{same} marked tokens have the same loss whatever their label is"] if same else [])


def _far_labels(case: Case, batch: Batch) -> torch.Tensor:
    """``[N]``: for each readout row the likeliest token, or the least likely where the label is as likely as that.

    Any other token would do in exact numbers; rounded, and under tokens that were never trained, many logits are equal.
    """
    logits = case.policy.logits(case.policy.hidden(batch.main).index_select(0, batch.readout.rows))
    best, token = logits.max(dim=-1)
    own = logits.gather(1, batch.readout.labels[:, None])[:, 0]
    return torch.where(own < best, token, logits.argmin(dim=-1))


def _relabelled(case: Case, batch: Batch, ids: torch.Tensor) -> Batch:
    """The batch with the labels that it would have if its tokens were ``ids``; what the model reads stays."""
    parts = ids.cpu().split(batch.main.layout.lengths)
    changed = [
        replace(example, ids=part.numpy().astype(np.int32)) for example, part in zip(case.windows, parts, strict=True)
    ]
    return replace(case.batch(changed), main=batch.main)


def _read(case: Case, batch: Batch) -> torch.Tensor:
    case.policy.eval()
    outputs = case.policy(batch, case.objective.want)
    assert isinstance(outputs.logprob, torch.Tensor)
    return outputs.logprob


def _total(case: Case, batch: Batch, logprob: torch.Tensor) -> torch.Tensor:
    terms = case.objective.loss(Outputs(logprob=logprob), batch)
    return torch.stack([term.weight * term.values.sum() for term in terms]).sum()


PROOF = Proof(
    means="the tokens that are shown as trained are exactly those the loss reads",
    mend="If you changed code or files while tokens were cached, remove the cache folder; otherwise report this",
    measure=measure,
    applies=lambda case: not case.objective.want.scores,
    passes=4,
    of_rows=True,
)
