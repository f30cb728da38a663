"""What a teacher says of rows, stored in them: its most likely tokens at every target (``objectives.stored_teacher``).

So a teacher that is too large to stand beside its student, or that runs elsewhere, is asked once and never again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import TrainOn
from tunesmith.contracts.policy import Want
from tunesmith.data.collate import flatten
from tunesmith.data.formats.base import BadRow
from tunesmith.data.look import recognised
from tunesmith.data.recognise import rename
from tunesmith.data.sources import Broken, open_source
from tunesmith.data.store import example_of
from tunesmith.errors import UserError
from tunesmith.evaluation.loss import microbatches
from tunesmith.files import write_text
from tunesmith.generation.inference import inference
from tunesmith.objectives.sft import Sft
from tunesmith.objectives.stored_teacher import COLUMN
from tunesmith.recipe.schema import SourceConfig
from tunesmith.run.session import Session
from tunesmith.run.use import open_any

TOKENS = 8192
"""Tokens computed at once."""
DIGITS = 5
"""Decimals of a stored log-probability."""


@dataclass(frozen=True)
class Top:
    """A ``Want.token_fn``: the ``k`` most likely tokens of a row and their log-probabilities, ``[n, 2k]``."""

    k: int

    def __call__(self, logits: torch.Tensor, rows: slice, batch: Batch) -> torch.Tensor:
        """``logits [n, V]`` -> log-probabilities, then ids (float32 holds them exactly below 2²⁴)."""
        best = logits.log_softmax(dim=-1).topk(min(self.k, logits.shape[1]))
        return torch.cat([best.values, best.indices.float()], dim=1)


def teach(
    teacher: str | Path, rows: SourceConfig, out: str | Path, *, top: int = 20, train_on: TrainOn = "answers"
) -> dict[str, Any]:
    """Write the rows of a source into the file ``out`` with what ``teacher`` (a run or a model) says of their answers.

    Returns ``{out, rows, left_out, top}``; rows that cannot be read, or of which the template makes several sequences,
    are left out. Raises ``UserError`` (``teacher-without-words``, ``no-rows-left``, and what reading raises).
    """
    session = open_any(teacher, dtype="float32")
    if session.task is not None:
        raise UserError(
            f"the teacher {teacher} writes no text", allowed="a language model", code="teacher-without-words"
        )
    held, left_out = _read(session, rows, train_on)
    if not held:
        raise UserError(f"no row of {rows.path} can be taught", got=f"{left_out} left out", code="no-rows-left")
    said = _ask(session, [example for _, example in held], top)
    lines = (json.dumps({**row, COLUMN: one}, ensure_ascii=False) for (row, _), one in zip(held, said, strict=True))
    write_text(Path(out), "".join(f"{line}\n" for line in lines))
    return {"out": str(out), "rows": len(held), "left_out": left_out, "top": top}


def _read(session: Session, rows: SourceConfig, train_on: TrainOn) -> tuple[list[tuple[dict[str, Any], Example]], int]:
    """Rows with their tokens, and how many were left out."""
    source, objective = open_source(rows.path, split=rows.split), Sft(train_on=train_on)
    form = recognised(rows, source).format
    held: list[tuple[dict[str, Any], Example]] = []
    left_out = 0
    for number, row in enumerate(source.rows()):
        if isinstance(row.value, Broken):
            left_out += 1
            continue
        try:
            (one,) = objective.encode(form.read(rename(row.value, rows.columns)), session.encoder)
        except (BadRow, ValueError):
            left_out += 1
        else:
            held.append((dict(row.value), example_of(one, number)))
    return held, left_out


def _ask(session: Session, examples: Sequence[Example], top: int) -> list[list[list[tuple[int, float]]]]:
    """For every example and target the pairs of token and log-probability."""
    found: dict[int, list[list[tuple[int, float]]]] = {}
    want = Want(logprob=False, token_fn=Top(top))
    for numbers in microbatches([len(example) for example in examples], TOKENS):
        batch = flatten([examples[number] for number in numbers]).to(session.policy.device)
        with inference(session.policy):
            values = session.policy(batch, want).values
        assert values is not None
        parts = values.cpu().split([examples[number].targets for number in numbers])
        found.update({number: list(map(list, _pairs(part))) for number, part in zip(numbers, parts, strict=True)})
    return [found[number] for number in range(len(examples))]


def _pairs(part: torch.Tensor) -> Iterator[Iterator[tuple[int, float]]]:
    k = part.shape[1] // 2
    for logprobs, ids in zip(part[:, :k].tolist(), part[:, k:].tolist(), strict=True):
        yield zip(map(int, ids), (round(min(one, 0.0), DIGITS) for one in logprobs), strict=True)
