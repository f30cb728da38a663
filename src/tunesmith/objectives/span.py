"""Answers that stand in a context (SQuAD): where they start and where they end (Devlin et al. 2019, section 4.2).

Every token ``i`` of a sequence has a score ``s_i`` to be the start and ``e_i`` to be the end:

    ℓ = ½ [ log Σ_i exp s_i − s_start ] + ½ [ log Σ_i exp e_i − e_end ]        L = Σ ℓ / n

over all tokens of the sequence, question and special tokens included, as transformers has it. A context that does not
fit is read in overlapping windows; a window without the answer points to its first token (Devlin et al. 2019, section
4.3), so nothing of the context is lost.

Labels are one number a token, bits added up: 1 the token is of the context, 2 the answer starts, 4 it ends here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import Judged, TaskHead, Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.collate import labelled
from tunesmith.data.formats.base import BadRow
from tunesmith.data.framing import Window, windows
from tunesmith.objectives.base import ObjectiveConfig
from tunesmith.objectives.reading import summed

if TYPE_CHECKING:
    import torch

NAME = "cross_entropy"
CONTEXT, START, END = 1, 2, 4


class Span(ObjectiveConfig):
    """Find the answer to a question in a context."""

    NAME: ClassVar[str] = "span"
    paper: ClassVar[str] = "Devlin et al. 2019, BERT, sections 4.2 and 4.3 (arXiv 1810.04805)"
    formats: ClassVar[tuple[str, ...]] = ("squad",)
    want: ClassVar[Want] = Want(logprob=False, scores=True)
    judged: ClassVar[Judged] = "labels"

    unanswerable: bool = False
    """Whether rows without an answer are learned (they point to the first token) rather than dropped."""
    window: Annotated[int, Field(ge=32)] | None = None
    """Tokens of a window, question included; by default `data.max_tokens`."""
    overlap: Annotated[int, Field(ge=0)] = 64
    """Tokens of the context that neighbouring windows share (at most half a window)."""
    longest_answer: Annotated[int, Field(gt=0)] = 30
    """Tokens of the longest answer that is given."""

    def head(self) -> TaskHead:
        """A score for the start and one for the end."""
        return TaskHead("span", ("start", "end"))

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """The window is as long as a sequence may be."""
        return {} if self.window is not None else {"window": max_tokens}

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """The context in windows behind the question, with the place of the first accepted answer."""
        pieces = self.windows(record, encoder)
        if not record.spans and not self.unanswerable:
            raise BadRow("the question has no answer in its context (objective.unanswerable would learn that)")
        answer = record.spans[0] if record.spans else None
        flags = [_flags(piece, answer) for piece in pieces]
        if answer is not None and all(one[0] & START for one in flags):
            raise BadRow("no window holds the whole answer (objective.overlap is shorter than it)")
        return [
            Encoding(
                piece.ids,
                [True] * len(piece.ids),
                f"window {number} of {len(pieces)}" if len(pieces) > 1 else "",
                labels=labels,
                second=piece.second,
            )
            for number, (piece, labels) in enumerate(zip(pieces, flags, strict=True), start=1)
        ]

    def windows(self, record: Record, encoder: Encoder) -> list[Window]:
        """The windows of a row."""
        if record.text is None or record.pair is None:
            raise BadRow("the row is not a question with its context")
        longest = self.window or 512
        return list(windows(encoder, record.pair, record.text, longest=longest, overlap=self.overlap))

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch that reads every token; labels int64 ``[N]`` are bits."""
        return labelled(examples)

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Sequences of the update."""
        return {NAME: float(len(examples))}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """Half the loss of the start and half that of the end, for each sequence."""
        assert outputs.scores is not None
        unit, units = batch.readout.unit, len(batch.unit_ids)
        start = _pointed(outputs.scores[:, 0], batch.readout.labels & START, unit, units)
        end = _pointed(outputs.scores[:, 1], batch.readout.labels & END, unit, units)
        return summed(NAME, 0.5 * (start + end), batch)


def _pointed(scores: torch.Tensor, chosen: torch.Tensor, unit: torch.Tensor, units: int) -> torch.Tensor:
    """``[N]``: at chosen tokens ``log Σ exp scores − score`` over the token's own unit, else 0."""
    import torch

    # the largest score is a constant here: it cancels, so no gradient passes through it
    top = torch.full((units,), -torch.inf, dtype=scores.dtype, device=scores.device)
    top = top.scatter_reduce(0, unit, scores.detach(), "amax")
    total = torch.zeros(units, dtype=scores.dtype, device=scores.device)
    whole = total.index_add(0, unit, torch.exp(scores - top[unit])).log() + top
    return (whole[unit] - scores) * (chosen != 0)


def _flags(window: Window, answer: tuple[int, int] | None) -> list[int]:
    """The bits of each token; a window that does not hold the whole answer points to its first token."""
    flags = [0] * len(window.ids)
    flags[window.first : window.last] = [CONTEXT] * len(window.spans)
    inside = (
        []
        if answer is None
        else [
            window.first + at for at, (left, right) in enumerate(window.spans) if left < answer[1] and right > answer[0]
        ]
    )
    whole = answer is not None and inside and _covers(window, inside, answer)
    start, end = (inside[0], inside[-1]) if whole else (0, 0)
    flags[start] |= START
    flags[end] |= END
    return flags


def _covers(window: Window, inside: Sequence[int], answer: tuple[int, int]) -> bool:
    """Whether the tokens hold the answer from its first character to its last."""
    left, right = window.spans[inside[0] - window.first][0], window.spans[inside[-1] - window.first][1]
    return left <= answer[0] and right >= answer[1]
