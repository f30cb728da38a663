"""What a teacher said, stored in rows: its ``k`` most likely tokens at every target, with their log-probabilities.

A row has a column ``teacher_logprobs``: a list over its trained tokens (the end of turn is one), each a list of pairs
``[token id, log-probability]`` at temperature 1, in the vocabulary of the student. What the teacher gave to all other
tokens, ``1 − Σ p_i``, is not spread over them: the student's own mass outside the k is one event beside them,

    D( (p_1 … p_k, 1 − Σ p_i)  ‖  (q_1 … q_k, 1 − Σ q_i) ),

which is at most the divergence of the whole distributions, and equal to it at k = V (joining events never adds
divergence: Cover and Thomas 2006, theorem 2.7.1). ``renormalise`` looks at the k alone, on both sides.

Shape legend: ``N`` targets, ``n`` those of a chunk, ``k`` stored tokens a target, ``V`` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tunesmith.contracts.data import Encoding, Record
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError

if TYPE_CHECKING:
    import torch

    from tunesmith.contracts.batch import Batch

COLUMN = "teacher_logprobs"
IDS, LOGPROBS = "teacher_ids", "teacher_logprobs"
"""Names of the examples' extras: float32 ``[targets · k]`` each; float32 holds token ids exactly below 2²⁴."""
KNOWN = 1e-6
"""The smallest mass outside the stored tokens: sums of float32 do not know it any better."""
Tail = Literal["joined", "renormalise"]


@dataclass(frozen=True)
class Events:
    """Log-probabilities of the same events under teacher and student, both ``[n, k]`` or ``[n, k + 1]``."""

    log_p: torch.Tensor
    log_q: torch.Tensor


def fewest(records: Iterable[Record]) -> int:
    """The smallest number of tokens that any of ``records`` stores of a target; 0 where none stores any."""
    found = [
        len(one)
        for record in records
        for one in record.meta.get(COLUMN) or ()
        if isinstance(one, Sequence) and not isinstance(one, str)
    ]
    return min(found, default=0)


def extras_of(record: Record, encoding: Encoding, k: int) -> dict[str, Sequence[float]]:
    """The ``k`` most likely stored tokens of every target. Raises ``BadRow`` where they do not fit the row."""
    stored = record.meta.get(COLUMN)
    if not isinstance(stored, list):
        raise BadRow(f"the row has no column '{COLUMN}'")
    targets = sum(encoding.trained[1:])
    if len(stored) != targets:
        raise BadRow(f"the row stores {len(stored)} distributions of the teacher and has {targets} trained tokens")
    pairs = [pair for one in stored for pair in _best(one, k)]
    return {IDS: [float(token) for token, _ in pairs], LOGPROBS: [logprob for _, logprob in pairs]}


def _best(stored: Any, k: int) -> list[tuple[int, float]]:
    try:
        pairs = [(int(token), float(logprob)) for token, logprob in stored]
    except (TypeError, ValueError):
        raise BadRow(f"column '{COLUMN}' holds something other than [token id, log-probability]") from None
    if any(not logprob <= 1e-3 or math.isnan(logprob) for _, logprob in pairs):
        raise BadRow(f"column '{COLUMN}' holds a log-probability above 0")
    if len({token for token, _ in pairs}) < max(k, len(pairs)):
        raise BadRow(f"column '{COLUMN}' stores {len(pairs)} tokens of a target (repeated, or fewer than {k})")
    return sorted(pairs, key=lambda pair: -pair[1])[:k]


def events(logits: torch.Tensor, rows: slice, batch: Batch, *, tail: Tail, temperature: float = 1.0) -> Events:
    """The stored tokens (and, joined, all others; only at temperature 1) of a chunk ``logits [n, V]``."""
    import torch

    # targets stand in the order of the examples, as their extras do
    count = len(batch.readout.labels)
    ids = batch.extras[IDS].view(count, -1)[rows].to(torch.int64)
    log_p = batch.extras[LOGPROBS].view(count, -1)[rows]
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < logits.shape[1]:
        raise UserError(
            f"the rows store tokens that the student does not have (column '{COLUMN}')",
            got=f"token ids from {int(ids.min())} to {int(ids.max())}",
            allowed=f"0 to {logits.shape[1] - 1}",
            hint="The teacher they come from needs the student's own tokenizer.",
            code="teacher-vocabulary",
        )
    if tail == "renormalise":
        return Events(*((one / temperature).log_softmax(dim=-1) for one in (log_p, logits.gather(1, ids))))
    log_q = logits.log_softmax(dim=-1)
    named = log_q.gather(1, ids)
    if ids.shape[1] == logits.shape[1]:
        return Events(log_p, named)
    others = log_q.scatter(1, ids, -torch.inf).logsumexp(dim=-1, keepdim=True)
    left = (1.0 - log_p.exp().sum(dim=-1, keepdim=True)).clamp_min(KNOWN).log()
    return Events(torch.cat([log_p, left], dim=1), torch.cat([named, others], dim=1))
