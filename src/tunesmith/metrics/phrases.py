"""Phrases that say what an answer does: lists of regular expressions, checked once and searched whatever the case."""

from __future__ import annotations

import re
from functools import lru_cache


def checked(phrases: tuple[str, ...]) -> tuple[str, ...]:
    """``phrases``; ``ValueError`` for the first that is no regular expression."""
    for phrase in phrases:
        try:
            re.compile(phrase)
        except re.error as error:
            raise ValueError(f"'{phrase}' is no regular expression: {error}") from None
    return phrases


@lru_cache(maxsize=64)
def pattern(phrases: tuple[str, ...]) -> re.Pattern[str]:
    """One expression that finds any of ``phrases``."""
    return re.compile("|".join(f"(?:{phrase})" for phrase in phrases), re.IGNORECASE)


def straight(text: str) -> str:
    """``text`` with straight apostrophes, as the phrases have them."""
    return text.replace("\u2019", "'")
