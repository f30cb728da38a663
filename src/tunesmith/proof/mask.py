"""The trained tokens that `tunesmith data show` marks are those the loss reads, no more and no fewer.

Shown in three ways: the rows in the store are those the recipe renders now; the loss has a gradient with respect to the
log-probability of exactly the marked tokens; and with other labels put under all unmarked tokens (the input unchanged)
the loss keeps every bit, while another label under a marked token changes its log-probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoding
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.proof.base import Case, Measured, Proof
from tunesmith.proof.sequences import example_rows, predicted, wholes


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
    """Whether ``example`` is a piece of ``encoding`` with the same marks (a piece's first token is never marked); of
    several answers each is whole or cut short."""
    ids, marks, size = example.ids.tolist(), example.trained.tolist(), len(example)
    if example.branches or encoding.branches:
        stored = _answers(ids, marks, example.branches)
        rendered = _answers(encoding.ids, encoding.trained, encoding.branches)
        return len(stored) == len(rendered) and all(
            whole[: len(one)] == one for one, whole in zip(stored, rendered, strict=True)
        )
    return not marks[0] and any(
        encoding.ids[start : start + size] == ids and encoding.trained[start + 1 : start + size] == marks[1:]
        for start in range(len(encoding.ids) - size + 1)
    )


def _answers(ids: Sequence[int], marks: Sequence[bool], branches: Sequence[int]) -> list[list[tuple[int, bool]]]:
    """The tokens and marks of each answer, the beginning in front."""
    tokens = list(zip(ids, marks, strict=True))
    edges = (*(branches or (0,)), len(tokens))
    return [tokens[: edges[0]] + tokens[start:end] for start, end in pairwise(edges)]


def _other_set(case: Case, true: torch.Tensor) -> list[str]:
    batch = case.batch(case.windows)
    logprob = true.clone().requires_grad_()
    (slope,) = torch.autograd.grad(_total(case, batch, logprob), logprob)
    read = set(predicted(batch)[(slope != 0).cpu()].tolist())
    firsts = {whole.rows()[0] for whole in wholes(batch.main.layout)}
    marked = zip(example_rows(batch), case.windows, strict=True)
    shown = {rows[at] for rows, example in marked for at in np.flatnonzero(example.trained).tolist()} - firsts
    wrong = [f"{len(read - shown)} tokens are in the loss but not marked"] if read - shown else []
    return wrong + ([f"{len(shown - read)} marked tokens are not in the loss"] if shown - read else [])


def _other_labels(case: Case, true: torch.Tensor) -> list[str]:
    batch = case.batch(case.windows)
    vocabulary = int(case.policy.model.get_input_embeddings().weight.shape[0])
    wrong = []
    with torch.no_grad():
        unmarked = [np.where(one.trained, one.ids, (one.ids + 1) % vocabulary) for one in case.windows]
        masked = _relabelled(case, batch, unmarked)
        if float(_total(case, batch, true)) != float(_total(case, masked, _read(case, masked))):
            wrong.append("labels of unmarked tokens change the loss")
        moved = _read(case, _relabelled(case, batch, _far_labels(case, batch)))
        same = int((moved == true).sum()) if len(moved) == len(true) else len(true)
    return wrong + ([f"{same} marked tokens have the same loss whatever their label is"] if same else [])


def _far_labels(case: Case, batch: Batch) -> list[NDArray[np.int32]]:
    """The windows' tokens, with the likeliest token (or the least likely where a target is as likely as that) in place
    of each target.

    Any other token would do in exact numbers; rounded, and under tokens that were never trained, many logits are equal.
    """
    logits = case.policy.logits(case.policy.hidden(batch.main).index_select(0, batch.readout.rows))
    best, token = logits.max(dim=-1)
    own = logits.gather(1, batch.readout.labels[:, None])[:, 0]
    far = batch.main.ids.scatter(
        0, predicted(batch).to(token.device), torch.where(own < best, token, logits.argmin(-1))
    )
    ids = far.cpu().numpy().astype(np.int32)
    return [
        ids[rows.start : rows.stop][: len(one)] for rows, one in zip(example_rows(batch), case.windows, strict=True)
    ]


def _relabelled(case: Case, batch: Batch, ids: Sequence[NDArray[np.int32]]) -> Batch:
    """The batch with the labels that it would have if its tokens were ``ids``; what the models read stays."""
    changed = [replace(example, ids=own.astype(np.int32)) for example, own in zip(case.windows, ids, strict=True)]
    other = case.objective.collate(changed).to(case.policy.device)
    return replace(other, main=batch.main, beside=batch.beside)


def _read(case: Case, batch: Batch) -> torch.Tensor:
    case.policy.eval()
    outputs = case.policy(batch, case.objective.want)
    assert isinstance(outputs.logprob, torch.Tensor)
    return outputs.logprob


def _total(case: Case, batch: Batch, logprob: torch.Tensor) -> torch.Tensor:
    terms = case.objective.loss(Outputs(logprob=logprob), batch)
    return torch.stack([term.weight * term.values.sum() for term in terms if term.weight]).sum()


def _reads_logprobs(case: Case) -> bool:
    """Whether the loss is a function of the targets' log-probabilities alone."""
    return replace(case.objective.want, hit=False, entropy=False) == Want(logprob=True)


PROOF = Proof(
    means="the tokens that are shown as trained are exactly those the loss reads",
    mend="If you changed code or files while tokens were cached, remove the cache folder; otherwise report this",
    measure=measure,
    applies=_reads_logprobs,
    passes=4,
    of_rows=True,
)
