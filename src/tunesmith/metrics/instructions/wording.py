"""Checks of the words of an answer: how many, which, in what case and script."""

from __future__ import annotations

import re
import unicodedata

from tunesmith.metrics.instructions.counting import within
from tunesmith.metrics.words import words as words_of

SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "CJK", "HIRAGANA", "KATAKANA", "ARABIC", "HEBREW", "HANGUL", "DEVANAGARI")
_SENTENCE = re.compile(r"[^.!?。！？]+[.!?。！？]+|[^.!?。！？]+$")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def words(answer: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None) -> bool:
    """The number of words; every Chinese or Japanese character is one."""
    return within(len(words_of(answer)), at_least, at_most, exactly)


def sentences(answer: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None) -> bool:
    """The number of sentences."""
    found = [one for one in _SENTENCE.findall(answer) if re.search(r"\w", one)]
    return within(len(found), at_least, at_most, exactly)


def characters(
    answer: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None
) -> bool:
    """The number of characters, without blanks at both ends."""
    return within(len(answer.strip()), at_least, at_most, exactly)


def contains(answer: str, words: list[str]) -> bool:
    """All of some words or phrases, as whole words and whatever the case."""
    return all(_count(answer, word) for word in _listed(words))


def contains_any(answer: str, words: list[str]) -> bool:
    """At least one of some words or phrases."""
    return any(_count(answer, word) for word in _listed(words))


def avoids(answer: str, words: list[str]) -> bool:
    """None of some words or phrases."""
    return not any(_count(answer, word) for word in _listed(words))


def word_count(
    answer: str, word: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None
) -> bool:
    """How often a word or phrase stands in the answer."""
    return within(_count(answer, word), at_least, at_most, exactly)


def letter_count(
    answer: str, letter: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None
) -> bool:
    """How often a letter stands in the answer, whatever the case."""
    return within(answer.casefold().count(letter.casefold()), at_least, at_most, exactly)


def starts_with(answer: str, text: str) -> bool:
    """The first characters, whatever the case."""
    return answer.strip().casefold().startswith(text.casefold())


def ends_with(answer: str, text: str) -> bool:
    """The last characters, whatever the case."""
    return answer.strip().casefold().endswith(text.casefold())


def first_word(answer: str, word: str) -> bool:
    """The first word."""
    return [one.casefold() for one in re.findall(r"\w+", answer)][:1] == [word.casefold()]


def last_word(answer: str, word: str) -> bool:
    """The last word."""
    return [one.casefold() for one in re.findall(r"\w+", answer)][-1:] == [word.casefold()]


def lowercase(answer: str) -> bool:
    """No capital letter, and at least one small one."""
    return answer.islower()


def uppercase(answer: str) -> bool:
    """No small letter, and at least one capital."""
    return answer.isupper()


def capital_words(
    answer: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None
) -> bool:
    """The number of words that are all capitals (of two letters or more)."""
    found = [word for word in re.findall(r"\w{2,}", answer) if word.isupper()]
    return within(len(found), at_least, at_most, exactly)


def no_commas(answer: str) -> bool:
    """No comma, Chinese ones included."""
    return not re.search("[,，、]", answer)


def no_digits(answer: str) -> bool:
    """No digit."""
    return not re.search(r"\d", answer)


def question(answer: str) -> bool:
    """It ends with a question mark."""
    return answer.strip().endswith(("?", "？"))


def script(answer: str, name: str) -> bool:
    """Every letter is of one script, such as LATIN, CYRILLIC or CJK."""
    if name.upper() not in SCRIPTS:
        raise ValueError(f"the scripts are {', '.join(SCRIPTS)}, got '{name}'")
    letters = [sign for sign in answer if sign.isalpha()]
    return bool(letters) and all(unicodedata.name(sign, "").startswith(name.upper()) for sign in letters)


def number_between(answer: str, low: float, high: float) -> bool:
    """There is a number, and the first one is from ``low`` to ``high``."""
    found = _NUMBER.search(answer.replace(",", ""))
    return found is not None and low <= float(found[0]) <= high


def _count(answer: str, word: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE))


def _listed(words: list[str]) -> list[str]:
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError("words is a list of texts")
    return words
