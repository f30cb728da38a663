"""Over-long sequences: dropped, cut, split or refused; and nothing without a trained token stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tunesmith.contracts.data import Encoding
from tunesmith.data.ledger import Status

Overlong = Literal["drop", "cut", "split", "refuse"]
NO_TARGET = "it has no trained token"
NO_TARGET_LEFT = "it has no trained token left after cutting"


@dataclass(frozen=True)
class Fitted:
    """What is left of a row, and what the ledger says about it (``reason`` is empty for a kept row)."""

    encodings: list[Encoding]
    status: Status
    reason: str = ""


def too_long(max_tokens: int) -> str:
    """The ledger's reason for over-long rows."""
    return f"it is longer than {max_tokens} tokens"


def fit(encodings: Sequence[Encoding], *, max_tokens: int, overlong: Overlong) -> Fitted:
    """The encodings of one row, none longer than ``max_tokens``, each with a trained token.

    ``cut`` keeps the beginning: the prompt stays what it will be at generation, the answer loses its end (and its end
    of turn with it, so nothing teaches the model to stop there). ``split`` keeps everything: each piece begins with
    the last token of the one before, so that every target is still predicted once. ``refuse`` drops here, so that all
    such rows are counted; training is refused afterwards (``refusal``).
    """
    if not any(one.has_target for one in encodings):
        return Fitted([], "dropped", NO_TARGET)
    long = [longest_sequence(encoding) > max_tokens for encoding in encodings]
    if not any(long):
        split = len(encodings) > 1 and encodings[0].note.startswith("split")
        return Fitted(
            [one for one in encodings if one.has_target],
            "split" if split else "kept",
            too_long(max_tokens) if split else "",
        )
    left = [piece for one in encodings for piece in _shortened(one, max_tokens, overlong) if piece.has_target]
    if not left:
        return Fitted([], "dropped", too_long(max_tokens) if overlong in ("drop", "refuse") else NO_TARGET_LEFT)
    return Fitted(left, "split" if overlong == "split" else "cut", too_long(max_tokens))


def longest_sequence(encoding: Encoding) -> int:
    """Tokens of the longest sequence in it: with several answers, the beginning and the longest of them."""
    return max((encoding.branches or (0,))[0] + end - start for start, end in _answers(encoding))


def _answers(encoding: Encoding) -> list[tuple[int, int]]:
    branches = encoding.branches or (0,)
    return list(zip(branches, (*branches[1:], len(encoding.ids)), strict=True))


def _shortened(encoding: Encoding, max_tokens: int, overlong: Overlong) -> list[Encoding]:
    if longest_sequence(encoding) <= max_tokens:
        return [encoding]
    if overlong in ("drop", "refuse") or encoding.asks:
        return []
    if encoding.branches:
        return _cut_answers(encoding, max_tokens)
    if encoding.labels is not None:
        return [_cut_labelled(encoding, max_tokens)]
    if overlong == "cut":
        return [_piece(encoding, 0, max_tokens, "cut")]
    starts = range(0, len(encoding.ids) - 1, max_tokens - 1)
    return [
        _piece(encoding, start, start + max_tokens, f"split {number} of {len(starts)}")
        for number, start in enumerate(starts, start=1)
    ]


def _piece(encoding: Encoding, start: int, stop: int, note: str) -> Encoding:
    """Tokens ``start`` to ``stop``, the first of which is no target; of extras with as many numbers for each target,
    those of its own targets."""
    targets = [at for at, marked in enumerate(encoding.trained) if marked and at > 0]
    own = [number for number, at in enumerate(targets) if start < at < stop]
    extras: dict[str, Sequence[float]] = {}
    for name, values in encoding.extras.items():
        each, rest = divmod(len(values), max(len(targets), 1))
        kept = [value for number in own for value in values[number * each : (number + 1) * each]]
        extras[name] = values if rest else kept
    return Encoding(encoding.ids[start:stop], [False, *encoding.trained[start + 1 : stop]], note, extras=extras)


def _cut_answers(encoding: Encoding, max_tokens: int) -> list[Encoding]:
    """Every answer without its end; nothing where an answer would have no target left (an answer is never split).

    Where answers are read and not predicted (they have labels), one that loses its only target is read at its new end.
    """
    room = max_tokens - encoding.branches[0]
    ids, trained = encoding.ids[: encoding.branches[0]], encoding.trained[: encoding.branches[0]]
    labels: list[int] = []
    branches, passed = [], 0
    answers: set[tuple[int, ...]] = set()
    for start, end in _answers(encoding):
        branches.append(len(ids))
        places = _kept(start, end, max(0, room), closing=encoding.closing)
        marks = [encoding.trained[at] for at in places]
        own = [] if encoding.labels is None else encoding.labels[passed : passed + sum(encoding.trained[start:end])]
        passed += len(own)
        if len(own) == 1 and marks and True not in marks:
            marks = [*marks[:-1], True]
        if True not in marks:
            return []
        answers.add(tuple(encoding.ids[at] for at in places))
        ids, trained = ids + [encoding.ids[at] for at in places], trained + marks
        labels += own[: sum(marks)]
    if encoding.branches[0] > 0 and len(answers) < len(branches):
        return []  # what told the answers apart is cut away
    kept = None if encoding.labels is None else labels
    return [replace(encoding, ids=ids, trained=trained, labels=kept, branches=tuple(branches), note="cut")]


def _kept(start: int, end: int, room: int, *, closing: int) -> list[int]:
    """Places ``start`` to ``end`` without the middle that has no room before the ``closing`` tokens."""
    if end - start <= room or room <= closing:
        return list(range(start, min(end, start + room)))
    return [*range(start, start + room - closing), *range(end - closing, end)]


def _cut_labelled(encoding: Encoding, max_tokens: int) -> Encoding:
    """The beginning and the closing special tokens; a text that is read at its last token is read at its new last."""
    kept = max_tokens - encoding.closing
    end = len(encoding.ids) - encoding.closing
    ids = encoding.ids[:kept] + encoding.ids[end:]
    trained = encoding.trained[:kept] + encoding.trained[end:]
    if encoding.trained.count(True) == 1:
        if True not in trained and encoding.trained[-1]:
            trained[-1] = True
        return replace(encoding, ids=ids, trained=trained, note="cut")
    labels = (encoding.labels or [])[: trained.count(True)]
    return replace(encoding, ids=ids, trained=trained, labels=labels, note="cut")
