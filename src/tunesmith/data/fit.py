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
    long = [len(encoding.ids) > max_tokens for encoding in encodings]
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


def _shortened(encoding: Encoding, max_tokens: int, overlong: Overlong) -> list[Encoding]:
    ids, trained = encoding.ids, encoding.trained
    if len(ids) <= max_tokens:
        return [encoding]
    if overlong in ("drop", "refuse"):
        return []
    if encoding.labels is not None:
        return [_cut_labelled(encoding, max_tokens)]
    if overlong == "cut":
        return [Encoding(ids[:max_tokens], trained[:max_tokens], "cut")]
    starts = range(0, len(ids) - 1, max_tokens - 1)
    return [
        Encoding(
            ids[start : start + max_tokens],
            [False, *trained[start + 1 : start + max_tokens]],
            f"split {number} of {len(starts)}",
        )
        for number, start in enumerate(starts, start=1)
    ]


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
