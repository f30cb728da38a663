"""A text, or a pair of texts, as a classifier reads it, and a long second text in windows.

Encoders have special tokens of their own, which the tokenizer puts (``[CLS] text [SEP] pair [SEP]``). Decoders have
none: a pair is joined by a line break, and the end-of-text token is added, at which the whole text is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tunesmith.contracts.data import Encoder, Framed
from tunesmith.data.formats.base import BadRow
from tunesmith.data.tokens import Tokens

JOINT = "\n"
"""Between the texts of a pair where the tokenizer has no special token for it."""


def frame(tokens: Tokens, text: str, pair: str | None, *, end: str | None) -> Framed:
    """``text`` (and ``pair``) with special tokens; ``end`` is what a text without closing special tokens ends with."""
    joined = pair is not None and not tokens.separates
    whole = tokens.whole(text + JOINT + (pair or ""), None) if joined else tokens.whole(text, pair)
    ids, spans, texts = list(whole.ids), list(whole.offsets), list(whole.sequence_ids)
    if joined:
        _part(spans, texts, len(text))
    closing = next((count for count, one in enumerate(reversed(texts)) if one is not None), len(texts))
    number = tokens.number(end) if end and not closing else None
    if number is not None:
        ids, spans, texts, closing = [*ids, number], [*spans, (0, 0)], [*texts, None], 1
    second = 0 if joined else next((at for at, kind in enumerate(whole.type_ids) if kind == 1), 0)
    return Framed(ids, spans, texts, second, closing)


def _part(spans: list[tuple[int, int]], texts: list[int | None], first: int) -> None:
    """Tell the tokens of a joined pair apart: those that reach beyond the joint are of the second text."""
    begin = first + len(JOINT)
    for at, (left, right) in enumerate(spans):
        if texts[at] is not None and right > begin:
            texts[at], spans[at] = 1, (max(left - begin, 0), right - begin)
        elif texts[at] is not None and right > first:
            texts[at] = None  # the joint itself belongs to neither


@dataclass(frozen=True)
class Window:
    """A piece of a long context behind its question.

    Tokens ``first`` to ``last`` (exclusive) are of the context, ``spans`` their characters in it.
    """

    ids: list[int]
    first: int
    spans: list[tuple[int, int]]
    second: int

    @property
    def last(self) -> int:
        """One behind the context's last token."""
        return self.first + len(self.spans)


def windows(encoder: Encoder, question: str, context: str, *, longest: int, overlap: int) -> Iterator[Window]:
    """All of ``context`` in windows of at most ``longest`` tokens that share ``overlap``, each behind ``question``."""
    framed = encoder.framed(question, context)
    places = framed.of(1)
    if not places:
        raise BadRow("the context has no token")
    first, last = places[0], places[-1] + 1
    before, after = framed.ids[:first], framed.ids[last:]
    room = longest - len(before) - len(after)
    if room < 8:
        raise BadRow(f"the question leaves no room for the context in {longest} tokens")
    step = max(room - overlap, room // 2)
    start = first
    while True:
        stop = min(start + room, last)
        yield Window([*before, *framed.ids[start:stop], *after], first, framed.spans[start:stop], framed.second)
        if stop == last:
            return
        start += step
