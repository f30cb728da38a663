"""Short pieces of rows, for proofs: what they show does not depend on length.

The trap: a piece of a pair must keep where its answers differ, for two equal answers teach nothing.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.contracts.batch import Example


def window(example: Example, size: int) -> Example:
    """At most ``size`` tokens of a row, about half of them before its first target; of several answers about half as
    many each."""
    if example.branches and example.branches[0] == 0:
        return _texts_window(example, size)
    if example.branches:
        return _branched_window(example, size)
    if example.labels is not None:
        return _labelled_window(example, size)
    first = int(example.trained[1:].argmax()) + 1
    start = max(0, min(first - size // 2, len(example) - size))
    piece = slice(start, start + size)
    targets = np.flatnonzero(example.trained[1:]) + 1
    # the first token of the piece is not predicted any more
    extras = _extras(example, (targets > start) & (targets < start + size))
    return replace(example, ids=example.ids[piece], trained=example.trained[piece], extras=extras)


def _extras(example: Example, kept: NDArray[np.bool_]) -> dict[str, Any]:
    """Those with as many numbers for each target lose the targets that are not ``kept``; the others stay."""
    targets = len(kept)
    return {
        name: values.reshape(targets, -1)[kept].reshape(-1) if targets and len(values) % targets == 0 else values
        for name, values in example.extras.items()
    }


def _texts_window(example: Example, size: int) -> Example:
    """The beginning of each of several texts that share nothing, with a token of each that is read."""
    ids: list[NDArray[np.int32]] = []
    trained: list[NDArray[np.bool_]] = []
    kept: list[NDArray[np.bool_]] = []
    branches = []
    for start, end in pairwise((*example.branches, len(example))):
        marks = example.trained[start:end]
        first = max(0, min(int(marks.argmax()) - size // 2 + 1, len(marks) - size // 2))
        piece = slice(first, first + size // 2)
        branches.append(sum(map(len, ids)))
        ids.append(example.ids[start:end][piece])
        trained.append(marks[piece])
        inside = np.zeros(len(marks), dtype=bool)
        inside[piece] = True
        kept.append(inside[marks])
    labels = None if example.labels is None else example.labels[np.concatenate(kept)]
    whole, marked = np.concatenate(ids), np.concatenate(trained)
    return replace(example, ids=whole, trained=marked, labels=labels, branches=tuple(branches))


def _labelled_window(example: Example, size: int) -> Example:
    """At most ``size`` tokens of a labelled row: around its lone target, or where the most telling label stands."""
    assert example.labels is not None
    targets = np.flatnonzero(example.trained)
    alone = len(targets) == 1
    middle = int(targets[0] if alone else targets[example.labels.argmax()])
    start = max(0, min(middle - size // 2, len(example) - size))
    piece = slice(start, start + size)
    labels = example.labels if alone else example.labels[(targets >= start) & (targets < start + size)]
    second = max(0, example.second - start)
    return replace(example, ids=example.ids[piece], trained=example.trained[piece], labels=labels, second=second)


def _branched_window(example: Example, size: int) -> Example:
    """The end of the beginning, with all that the answers begin alike, and of each answer what follows (predicted
    answers), or its end (answers that are read at their last token)."""
    edges = (*example.branches, len(example))
    answers = [slice(start, end) for start, end in pairwise(edges)]
    same = _same([example.ids[one] for one in answers])
    if example.labels is not None:
        same = min(same, *(int(example.trained[one].argmax()) for one in answers))
    opening = np.concatenate([example.ids[: edges[0]], example.ids[edges[0] : edges[0] + same]])[-(size // 2) :]
    ids, trained, branches = [opening], [np.zeros(len(opening), dtype=bool)], []
    for one in answers:
        branches.append(sum(map(len, ids)))
        rest = slice(one.start + same, one.stop)
        kept = slice(-(size // 2), None) if example.labels is not None else slice(0, size // 2)
        ids.append(example.ids[rest][kept])
        trained.append(example.trained[rest][kept])
    return replace(example, ids=np.concatenate(ids), trained=np.concatenate(trained), branches=tuple(branches))


def _same(answers: list[np.ndarray[tuple[int, ...], np.dtype[np.int32]]]) -> int:
    """How many tokens all answers begin with alike, with at least one left of each; 0 for a lone answer."""
    if len(answers) < 2:
        return 0
    longest = min(map(len, answers)) - 1
    differing = np.array([any(one[at] != answers[0][at] for one in answers) for at in range(longest)], dtype=bool)
    return int(differing.argmax()) if differing.any() else longest
