"""A conversation as text, cut where prompts and answers end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Span:
    """One answer in a rendered text: its prompt ends at ``start``, its end of turn at ``end``."""

    start: int
    end: int
    targets: tuple[tuple[int, int], ...]


@dataclass
class Drawn:
    """A conversation as text, cut at every prompt end, answer end and target edge."""

    text: str
    edges: list[int]
    spans: Mapping[int, Span | None]
    """By the number of the answer's turn; None where it was generated from another text than stands here."""
    ids: list[list[int]] | None = None
    """Of each piece, once they are tokenised."""

    @property
    def pieces(self) -> list[str]:
        """The text between the edges."""
        return [self.text[left:right] for left, right in pairwise(self.edges)]
