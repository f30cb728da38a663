"""Over-long sequences: dropped, cut, split or refused; and nothing without a trained token stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tunesmith.contracts.data import Encoding
from tunesmith.data.ledger import Status
from tunesmith.errors import UserError

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


def fit(encodings: Sequence[Encoding], *, max_tokens: int, overlong: Overlong, where: str) -> Fitted:
    """The encodings of one row, none longer than ``max_tokens``, each with a trained token.

    ``cut`` keeps the beginning: the prompt stays what it will be at generation, the answer loses its end (and its end
    of turn with it, so nothing teaches the model to stop there). ``split`` keeps everything: each piece begins with
    the last token of the one before, so that every target is still predicted once.
    """
    if not any(map(_has_target, encodings)):
        return Fitted([], "dropped", NO_TARGET)
    long = [len(encoding.ids) > max_tokens for encoding in encodings]
    if any(long) and overlong == "refuse":
        raise UserError(
            f"{where} is longer than max_tokens",
            got=f"{max(len(encoding.ids) for encoding in encodings)} tokens",
            allowed=f"at most {max_tokens}",
            hint="Raise data.max_tokens, or set data.overlong to drop, cut or split.",
            code="overlong-row",
        )
    if not any(long):
        split = len(encodings) > 1 and encodings[0].note.startswith("split")
        return Fitted(
            [one for one in encodings if _has_target(one)],
            "split" if split else "kept",
            too_long(max_tokens) if split else "",
        )
    left = [piece for one in encodings for piece in _shortened(one, max_tokens, overlong) if _has_target(piece)]
    if not left:
        return Fitted([], "dropped", too_long(max_tokens) if overlong == "drop" else NO_TARGET_LEFT)
    return Fitted(left, "split" if overlong == "split" else "cut", too_long(max_tokens))


def _has_target(encoding: Encoding) -> bool:
    return True in encoding.trained[1:]


def _shortened(encoding: Encoding, max_tokens: int, overlong: Overlong) -> list[Encoding]:
    ids, trained = encoding.ids, encoding.trained
    if len(ids) <= max_tokens:
        return [encoding]
    if overlong == "drop":
        return []
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
