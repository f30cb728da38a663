r"""The number an answer gives, as an exact fraction.

Looked for where answers put it: after ``#### `` (GSM8K), in ``\boxed{…}`` or in ``<answer>…</answer>``, whichever
stands last (and if that holds no number, there is none); else after the last "answer is" or "answer:"; else the last
of the text.

Understood: signs (also ``−``), ``$18``, ``1,234,567``, ``1{,}234``, ``.5``, ``2.5e3``, ``2.5 \times 10^{3}``, ``3/4``,
``1 1/2``, ``\frac{3}{4}``, ``50%``. Not understood: a decimal comma (``3,5`` is two numbers) and numbers in words.

The traps: a minus after a number or a word is an operation or a dash (``5-3``, ``gpt-4``); ``1e999999999`` and numbers
of thousands of digits are no answers but a way to stop the machine, so they are no numbers here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

MOST_DIGITS = 100

_CLEANED = (
    (re.compile(r"[−–](?=\s*[\d.$])"), "-"),
    (re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))"), ","),
    (re.compile(r"\\[dt]?frac\s*\{\s*(-?\d+(?:\.\d+)?)\s*\}\s*\{\s*(\d+(?:\.\d+)?)\s*\}"), r" \1/\2"),
    (re.compile(r"\\[dt]?frac(\d)(\d)"), r" \1/\2"),
    (re.compile(r"-\s+(?=\d+(?:\.\d+)?/\d)"), "-"),
    (re.compile(r"\\(?=[$%])"), ""),
)
"""What is written for the eye, made plain."""

_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"""
    (?<![\w./])                                               # not inside a word, a number or a date
    (?P<sign>(?:(?<![\w)\]])[-+])?)\s?[$€£¥]?\s?(?P<sign2>-?)
    (?:
        (?P<whole>\d+)\s+(?P<part>\d+/\d+)(?![\d/])           # 1 1/2
      | (?P<top>{_PLAIN})\s?/\s?(?P<bottom>{_PLAIN})(?!\d|\s?/)  # 3/4, and no date
      | (?P<plain>{_PLAIN})
        (?:[eE](?P<exponent>[-+]?\d+)(?!\w)|\s?(?:\\times|\\cdot|[×*])\s?10\^\{{?(?P<power>[-+]?\d+)\}}?)?
    )
    (?P<percent>\s?%)?
    """,
    re.VERBOSE,
)
_MARK = re.compile(r"(?P<hashes>####(?=\s*[-+$]*\s*\.?\d))|(?P<box>\\(?:boxed|fbox)\s*\{)|<answer>", re.IGNORECASE)
_SAID = re.compile(r"\banswer\s*(?:is|:|=)", re.IGNORECASE)


@dataclass(frozen=True)
class Number:
    """An exact value as written; ``percent`` where a percent sign follows (``value`` of ``50%`` is 50)."""

    value: Fraction
    percent: bool = False

    def equals(self, other: Number, *, tolerance: float = 0.0) -> bool:
        """Whether |self − other| ≤ tolerance · max(1, |other|); ``50%`` equals both ``50`` and ``0.5``."""
        readings = [self.value]
        target = other.value
        if self.percent and not other.percent:
            readings.append(self.value / 100)
        elif other.percent and not self.percent:
            readings.append(self.value * 100)
        bound = Fraction(tolerance) * max(Fraction(1), abs(target))
        return any(abs(reading - target) <= bound for reading in readings)


def answer_number(text: str) -> Number | None:
    """The number ``text`` gives as its answer; None where there is none."""
    text = _plain_text(text)
    marks = list(_MARK.finditer(text))
    if marks:
        after = text[marks[-1].end() :]
        if marks[-1]["hashes"]:
            return next(_numbers(after), None)
        return _last(_to_brace(after) if marks[-1]["box"] else after.partition("</")[0])
    said = list(_SAID.finditer(text))
    first = next(_numbers(text[said[-1].end() :]), None) if said else None
    return first or _last(text)


def _numbers(text: str) -> Iterator[Number]:
    for found in _NUMBER.finditer(text):
        value = _value(found)
        if value is not None:
            negative = "-" in (found["sign"], found["sign2"])
            yield Number(-value if negative else value, bool(found["percent"]))


def _plain_text(text: str) -> str:
    for pattern, plain in _CLEANED:
        text = pattern.sub(plain, text)
    return text


def _to_brace(text: str) -> str:
    """Up to the brace that closes what is open."""
    depth = 1
    for at, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if depth == 0:
            return text[:at]
    return text


def _last(text: str) -> Number | None:
    last = None
    for number in _numbers(text):
        last = number
    return last


def _value(found: re.Match[str]) -> Fraction | None:
    """The matched number without its sign; None for a division by zero and for what is absurdly long."""
    if len(found[0]) > MOST_DIGITS:
        return None
    if found["whole"]:
        part = _quotient(*found["part"].split("/"))
        return None if part is None else int(found["whole"]) + part
    if found["top"]:
        return _quotient(found["top"], found["bottom"])
    power = int(found["exponent"] or found["power"] or 0)
    return None if abs(power) > MOST_DIGITS else _plain(found["plain"]) * Fraction(10) ** power


def _quotient(top: str, bottom: str) -> Fraction | None:
    return _plain(top) / _plain(bottom) if _plain(bottom) else None


def _plain(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))
