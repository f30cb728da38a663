"""Text to tokens in pieces, such that a piece is tokenised as it is when it goes on from the piece before.

A prompt and its answer are tokenised apart, because at generation the prompt is tokenised alone and the answer comes
token by token: the ids of the prompt are then a prefix of the ids of the whole, whatever the tokenizer merges across
the boundary. Cut apart naively, tokenizers that put a blank before every text (``Prepend``, ``Metaspace``,
``add_prefix_space``) would put one into the middle of the sequence. So the first piece goes through the tokenizer
as it is and the others through a copy that adds no blank, except after a special token, where such tokenizers add one
inside a text as well.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer


@dataclass(frozen=True)
class _Part:
    """Text for the tokenizer as it is (``head``) or for the copy that adds no blank."""

    text: str
    head: bool


class Tokens:
    """A tokenizer (the JSON of ``tokenizers``) that encodes texts piece by piece."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._head = _plain_tokenizer(source)
        rest = _without_first_blank(json.loads(source))
        self._tail = self._head if rest is None else _plain_tokenizer(json.dumps(rest))
        added = self._head.get_added_tokens_decoder()
        self.special = {token.content: number for number, token in added.items() if token.special}
        self._specials = re.compile("|".join(map(re.escape, sorted(self.special, key=len, reverse=True))) or r"(?!)")
        self._safe: set[str] = set()
        self._lossy: set[str] = set()

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each of ``texts``, which follow one another; no token is added before or after."""
        return self.batch([texts])[0]

    def batch(self, sequences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """``pieces`` of many sequences at once: one call for 500 rows takes 2/3 of the time of 500 calls."""
        if self._tail is self._head:
            ids = iter(self._all_ids(self._head, [text for texts in sequences for text in texts]))
            return [[next(ids) for _ in texts] for texts in sequences]
        plans = [list(self._plan(texts)) for texts in sequences]
        parts = [part for plan in plans for piece in plan for part in piece]
        heads = iter(self._all_ids(self._head, [part.text for part in parts if part.head]))
        tails = iter(self._all_ids(self._tail, [part.text for part in parts if not part.head]))
        return [
            [[number for part in piece for number in next(heads if part.head else tails)] for piece in plan]
            for plan in plans
        ]

    def whole(self, text: str, pair: str | None) -> Any:
        """A text or a pair with the special tokens that the tokenizer itself puts (an encoding of ``tokenizers``)."""
        return self._head.encode(text, pair)

    @cached_property
    def separates(self) -> bool:
        """Whether a special token stands between the texts of a pair."""
        return None in self._head.encode("a", "b").sequence_ids[1:-1]

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of ``ids``; special tokens only where ``special`` is set."""
        return self._head.decode(list(ids), skip_special_tokens=not special)

    def inner_text(self, ids: Sequence[int]) -> str:
        """The text of ``ids`` inside a sequence: unlike ``decode`` it keeps a blank that the ids begin with."""
        anchor = self._anchor
        return self._head.decode([*anchor, *ids], skip_special_tokens=False)[len(self._head.decode(anchor)) :]

    @cached_property
    def _anchor(self) -> list[int]:
        return self._ids(self._head, "a")

    def token(self, number: int) -> str:
        """The token behind an id as the vocabulary spells it."""
        return self._head.id_to_token(number) or f"<{number}>"

    def number(self, token: str) -> int | None:
        """The id of a token of the vocabulary, or None."""
        return self._head.token_to_id(token)

    @cached_property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self._head.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def blank_in_front(self) -> bool:
        """Whether words carry their blank in front (``▁the``) rather than behind (``the▁``)."""
        words = [token for token in self._head.get_vocab() if len(token) > 1]
        front = sum(token[0] in "▁Ġ " for token in words)
        return front >= sum(token[-1] in "▁Ġ " for token in words)

    def first_special(self, text: str) -> str | None:
        """The special token ``text`` begins with (blanks aside), or None."""
        found = self._specials.match(text.lstrip())
        return found.group() if found else None

    def spelled(self, text: str) -> str | None:
        """The first special token that ``text`` spells, which becomes that token wherever it stands; None without."""
        found = self._specials.search(text)
        return found.group() if found else None

    def lost(self, text: str) -> list[str]:
        """Characters of ``text`` that do not come back when it is encoded and decoded."""
        if self._ascii_survives and text.isascii():
            return []
        letters = set(text)
        for letter in letters - self._safe - self._lossy:
            (self._safe if self._survives(letter) else self._lossy).add(letter)
        return sorted(letters & self._lossy)

    @cached_property
    def _ascii_survives(self) -> bool:
        return all(map(self._survives, map(chr, range(128))))

    def _survives(self, letter: str) -> bool:
        back = self.decode(self._ids(self._head, f"a{letter}a"))
        plain = unicodedata.normalize("NFKC", letter).casefold()
        return letter in back or plain in unicodedata.normalize("NFKC", back).casefold()

    def _plan(self, texts: Sequence[str]) -> Iterator[list[_Part]]:
        """For each piece, which tokenizer takes which part of it."""
        blank = True
        for text in texts:
            special = None if blank else self._specials.search(text)
            # from its first special token on the tokenizer itself knows where blanks go
            cut = 0 if blank else special.start() if special else len(text)
            parts = (_Part(text[:cut], head=False), _Part(text[cut:], head=True))
            yield [part for part in parts if part.text]
            blank = (blank and not text) or (self._blank_after_special and self._ends_special(text))

    def _all_ids(self, tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def _ids(self, tokenizer: Tokenizer, text: str) -> list[int]:
        return self._all_ids(tokenizer, [text])[0]

    def _ends_special(self, text: str) -> bool:
        return any(text.endswith(token) for token in self.special)

    @cached_property
    def _blank_after_special(self) -> bool:
        if not self.special:
            return False
        token, number = next(iter(self.special.items()))
        return self._ids(self._head, f"{token}a") == [number, *self._ids(self._head, "a")]


def _plain_tokenizer(source: str) -> Tokenizer:
    tokenizer = Tokenizer.from_str(source)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _without_first_blank(tokenizer: dict[str, Any]) -> dict[str, Any] | None:
    """The tokenizer's JSON without what puts a blank before a text; None where nothing does."""
    changed = dict(tokenizer)
    changed["normalizer"] = _cleaned(tokenizer.get("normalizer"))
    changed["pre_tokenizer"] = _cleaned(tokenizer.get("pre_tokenizer"))
    return None if changed == tokenizer else changed


def _cleaned(part: dict[str, Any] | None) -> dict[str, Any] | None:
    if part is None or part["type"] == "Prepend":
        return None
    if part["type"] == "Sequence":
        key = "normalizers" if "normalizers" in part else "pretokenizers"
        return {**part, key: [kept for inner in part[key] if (kept := _cleaned(inner)) is not None]}
    if part["type"] == "Metaspace":
        return {**part, "prepend_scheme": "never"}
    if part["type"] == "ByteLevel":
        return {**part, "add_prefix_space": False}
    return part
