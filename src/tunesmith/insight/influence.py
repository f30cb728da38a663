"""Which training rows moved an answer: rows whose gradient points where the answer's does.

    similarity(row) = cos( g(answer), g(row) )     g: gradient by the trained parameters (``insight.rows``)

TracIn at the last checkpoint (Pruthi et al. 2020, arXiv:2002.08484, eq. 1), normalised so that long or unlikely rows do
not win by size. Above 0: an update on the row makes the answer likelier. The trap: a gradient at the end of training
tells what a row would do now, and rows that are learned already have small ones.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

from tunesmith.errors import UserError
from tunesmith.insight.rows import Gradients, answer_gradient, refuse_coupled, row_gradient
from tunesmith.insight.subject import Subject

SHOWN = 8


def look(subject: Subject, *, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """``{prompt, answer, rows, helped: [{where, text, similarity}], hindered: [...], similarities}``."""
    refuse_coupled(subject)
    if not subject.training or not subject.asked.example.targets:
        raise UserError("there are no training rows, or no answer, to compare", code="cannot-inspect")
    parameters = [value for group in subject.attached.groups() for value in group.parameters.values()]
    wanted = answer_gradient(subject, parameters)
    found = []
    for number, example in enumerate(subject.training):
        if example.targets:
            tell(f"row {number + 1} of {len(subject.training)}")
            found.append((cosine(wanted, row_gradient(subject, parameters, example)), number))
    found.sort(reverse=True)

    def told(similarity: float, number: int) -> dict[str, Any]:
        example = subject.training[number]
        text = " ".join(subject.decode(example.ids.tolist()).split())
        return {"where": subject.where(example), "text": text[:200], "similarity": similarity}

    helped = [told(*one) for one in found[:SHOWN] if one[0] > 0]
    hindered = [told(*one) for one in reversed(found[-SHOWN:]) if one[0] < 0]
    return {
        "prompt": subject.decode(subject.asked.prompt),
        "answer": subject.asked.said,
        "rows": len(found),
        "helped": helped,
        "hindered": hindered,
        "similarities": [similarity for similarity, _ in found],
    }


def cosine(one: Gradients, other: Gradients) -> float:
    """Of two gradients, parameter by parameter; 0 where one of them is zero."""
    dot = first = second = 0.0
    for a, b in zip(one, other, strict=True):
        dot += float((a * b).sum()) if a is not None and b is not None else 0.0
        first += float((a**2).sum()) if a is not None else 0.0
        second += float((b**2).sum()) if b is not None else 0.0
    return dot / sqrt(first * second) if first and second else 0.0
