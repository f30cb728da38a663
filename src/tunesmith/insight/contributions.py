"""What an answer hangs on: how much worse it gets when one token of the question is left out.

    contribution(token) = loss(answer | the others) − loss(answer | all)

in nats of the whole answer, or in the loss of a task head. Above 0 the token speaks for the answer. The trap: what two
tokens say alike can be left out one at a time without loss, so both count for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tunesmith.contracts.batch import Example
from tunesmith.contracts.policy import Want
from tunesmith.data.collate import flatten
from tunesmith.errors import UserError
from tunesmith.insight.rows import losses, refuse_coupled
from tunesmith.insight.subject import SIDES, Subject
from tunesmith.models.policy import CausalPolicy

LONGEST = 128
"""Tokens that are left out in turn, the last ones where there are more."""
AT_ONCE = 16


def look(subject: Subject, *, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """``{said, loss, tokens: [{text, tuned, base}]}``; a new task head has no ``base`` to compare with."""
    _refuse(subject)
    example = subject.asked.example
    places = [place for place in range(len(example)) if not example.trained[place]][-LONGEST:]
    if len(places) < 2:
        raise UserError("the question has no token that could be left out", code="cannot-inspect")
    tokens: list[dict[str, Any]] = [{"text": subject.token(int(example.ids[place]))} for place in places]
    found: dict[str, Any] = {"said": subject.asked.said, "tokens": tokens}
    for side in SIDES if subject.writes else SIDES[1:]:
        tell(side)
        with subject.side(side) as policy:
            whole, *fewer = _losses(subject, policy, [example, *(without(example, place) for place in places)])
        found["loss"] = whole  # the tuned model's, which comes last
        for token, loss in zip(tokens, fewer, strict=True):
            token[side] = loss - whole
    return found


def without(example: Example, place: int) -> Example:
    """``example`` without the token at ``place``, which is no target."""
    return replace(
        example,
        ids=np.delete(example.ids, place),
        trained=np.delete(example.trained, place),
        branches=tuple(branch - (place < branch) for branch in example.branches),
        second=example.second - (place < example.second),
    )


def _refuse(subject: Subject) -> None:
    task = subject.objective.head()
    if task is None:
        return
    if task.problem == "span":
        raise UserError(
            "an answer that is a place in a text moves when a token is left out",
            allowed="weights, importance, activations, attention, influence",
            code="cannot-inspect",
        )
    refuse_coupled(subject)


def _losses(subject: Subject, policy: CausalPolicy, examples: Sequence[Example]) -> list[float]:
    return [value for piece in _pieces(examples) for value in _of_piece(subject, policy, piece).tolist()]


def _pieces(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    for first in range(0, len(examples), AT_ONCE):
        yield examples[first : first + AT_ONCE]


def _of_piece(subject: Subject, policy: CausalPolicy, examples: Sequence[Example]) -> torch.Tensor:
    if not subject.writes:
        return losses(subject, policy, examples)
    batch = flatten(examples).to(policy.device)
    logprob = policy(batch, Want(logprob=True)).logprob
    return -torch.zeros(len(examples), device=policy.device).index_add(0, batch.readout.unit, logprob)
