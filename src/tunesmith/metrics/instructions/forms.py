"""Checks of the form of an answer: paragraphs, lists, marks, JSON."""

from __future__ import annotations

import json
import re

from tunesmith.metrics.instructions.counting import within

_BULLET = re.compile(r"^\s*[-*•] +\S", re.MULTILINE)
_NUMBERED = re.compile(r"^\s*\d+[.)] +\S", re.MULTILINE)
_HIGHLIGHT = re.compile(r"\*{1,2}[^*\n]+\*{1,2}")
_PLACEHOLDER = re.compile(r"\[[^\[\]\n]+\]")
_FENCE = re.compile(r"```[\w+-]*\n.*?```", re.DOTALL)


def paragraphs(
    answer: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None
) -> bool:
    """The number of paragraphs, which blank lines part."""
    return within(len(_paragraphs(answer)), at_least, at_most, exactly)


def paragraph_starts(answer: str, paragraph: int, word: str) -> bool:
    """The first word of the paragraph of that number (from 1)."""
    found = _paragraphs(answer)
    if not 1 <= paragraph <= len(found):
        return False
    return [one.casefold() for one in re.findall(r"\w+", found[paragraph - 1])][:1] == [word.casefold()]


def bullets(answer: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None) -> bool:
    """The number of lines that begin with a dash, a star or a dot."""
    return within(len(_BULLET.findall(answer)), at_least, at_most, exactly)


def numbered(answer: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None) -> bool:
    """The number of lines that begin with a number and a point."""
    return within(len(_NUMBERED.findall(answer)), at_least, at_most, exactly)


def lines(answer: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None) -> bool:
    """The number of lines that are not blank."""
    return within(sum(bool(line.strip()) for line in answer.splitlines()), at_least, at_most, exactly)


def sections(
    answer: str, mark: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None
) -> bool:
    """The number of lines that begin with a mark and a number, such as ``Section 1``."""
    found = re.findall(rf"^\W*{re.escape(mark)} +\d+", answer, re.MULTILINE | re.IGNORECASE)
    return within(len(found), at_least, at_most, exactly)


def highlights(
    answer: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None
) -> bool:
    """The number of passages ``*between stars*``."""
    return within(len(_HIGHLIGHT.findall(answer)), at_least, at_most, exactly)


def placeholders(
    answer: str, at_least: int | None = None, at_most: int | None = None, exactly: int | None = None
) -> bool:
    """The number of places to fill in, such as ``[name]``."""
    return within(len(_PLACEHOLDER.findall(answer)), at_least, at_most, exactly)


def title(answer: str) -> bool:
    """A title ``<<in double angle brackets>>``."""
    return re.search(r"<<[^<>\n]+>>", answer) is not None


def postscript(answer: str, mark: str = "P.S.") -> bool:
    """A line that begins with ``P.S.``, or another mark."""
    return re.search(rf"^\s*{re.escape(mark)}\s*\S", answer, re.MULTILINE | re.IGNORECASE) is not None


def quoted(answer: str) -> bool:
    """The whole answer stands between double quotation marks."""
    text = answer.strip()
    return len(text) > 2 and text[0] in '"“„' and text[-1] in '"”“'


def json_object(answer: str, keys: list[str] | None = None) -> bool:
    """The whole answer is JSON (in a code block or not), an object with ``keys`` where they are given."""
    text = re.sub(r"^```(?:json)?\s*\n?|\n?```\s*$", "", answer.strip(), flags=re.IGNORECASE)
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return keys is None or (isinstance(found, dict) and set(keys) <= set(found))


def code_block(answer: str) -> bool:
    """There is a code block between three backticks."""
    return _FENCE.search(answer) is not None


def one_of(answer: str, options: list[str]) -> bool:
    """The whole answer is one of the options, its last full stop and case aside."""
    said = answer.strip().rstrip(".").casefold()
    return said in [option.rstrip(".").casefold() for option in options]


def two_answers(answer: str, mark: str = "******") -> bool:
    """Two different answers with a mark between them."""
    parts = [part.strip() for part in answer.split(mark)]
    return len(parts) == 2 and all(parts) and parts[0] != parts[1]


def repeats(answer: str, text: str) -> bool:
    """It begins by repeating a text word for word, and goes on."""
    said, asked = " ".join(answer.split()).casefold(), " ".join(text.split()).casefold()
    return said.startswith(asked) and len(said) > len(asked)


def _paragraphs(answer: str) -> list[str]:
    return [part for part in re.split(r"\n\s*\n", answer.strip()) if part.strip()]
