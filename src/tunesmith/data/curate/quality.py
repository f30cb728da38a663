"""Quality by rules with names, so that the ledger says of every row which one it broke.

    empty         the answer says nothing: no letter and no digit
    echo          the answer only repeats what was asked
    refusal       the answer is a refusal or speaks of itself as a language model
    placeholder   something was to be filled in: "lorem ipsum", "[insert name here]", "<noinput>"
    repetition    words in repeated groups of ten, or repeated lines, are too large a share of the text
    symbols       too few characters are letters, digits or blanks
    shouting      too many letters are capitals
    long-word     a "word" is longer than any word (broken encodings, base64), addresses of pages aside

Repetition and symbols follow the rules for MassiveText (Rae et al. 2021, arXiv:2112.11446, appendix A1.1, table A1).

The trap: code, tables and poems look like bad prose to such rules; what stands in code fences is left out of the last
four.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from tunesmith.data.curate.base import Drop, Item, RowStep
from tunesmith.data.curate.texts import words

Rule = Literal["empty", "echo", "refusal", "placeholder", "repetition", "symbols", "shouting", "long-word"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
ALL: tuple[Rule, ...] = get_args(Rule)


class Quality(RowStep):
    """Drops rows that break a rule of quality, each with the rule as its reason."""

    NAME: ClassVar[str] = "quality"
    paper: ClassVar[str] = "https://arxiv.org/abs/2112.11446"

    rules: Annotated[list[Rule], Field(min_length=1)] = list(ALL)
    """Which rules hold."""
    repeated: Share = 0.3
    """`repetition`: largest share of words in groups of ten that came before, or of repeated lines."""
    symbols: Share = 0.4
    """`symbols`: largest share of characters that are neither letter, digit nor blank."""
    capitals: Share = 0.8
    """`shouting`: largest share of capitals among the letters of a text of 20 letters and more."""
    word_characters: Annotated[int, Field(ge=10)] = 100
    """`long-word`: most characters of a word."""

    def look(self, item: Item) -> Drop | None:
        """Dropped for the first rule that is broken."""
        # each text by itself: an answer may well repeat what it was given to rewrite
        prose = [_CODE.sub("", text) for text in item.texts]
        for rule in self.rules:
            if rule in _ANSWER_RULES:
                broken = _ANSWER_RULES[rule](item)
            else:
                broken = any(self._broken(rule, text) for text in prose)
            if broken:
                return Drop(f"{rule}: {_WORDS[rule]}")
        return None

    def _broken(self, rule: Rule, prose: str) -> bool:
        if rule == "repetition":
            return _repeated(prose) > self.repeated
        if rule == "symbols":
            return len(prose) >= 20 and _symbols(prose) > self.symbols
        if rule == "shouting":
            letters, capitals = _letters(prose)
            return letters >= 20 and capitals > self.capitals * letters
        return any(len(word) > self.word_characters and not _ADDRESS.search(word) for word in _spaced(prose))


_CODE = re.compile(r"```.*?(?:```|\Z)", re.S)
_SYMBOL = re.compile(r"[^\w\s]|_")
_ADDRESS = re.compile(r"https?://|www\.|\w/\w")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")
_REFUSAL = re.compile(
    r"""\bas\san\sai\b | \bas\sa\s(?:large\s)?language\smodel\b
    | \bi(?:'|’)?\s?a?m\s(?:just\s|only\s)?an?\s(?:ai|large\slanguage|language)\b
    | \A\W*(?:(?:i\sam|i['’]m|we['’]re)\s(?:very\s|so\s)?sorry|sorry|(?:i|my)\sapolog\w+|unfortunately)\b[^.!?\n]{0,40}
      \b(?:can(?:not|['’]t|\snot)|unable|won['’]t|will\snot|not\sable)\b
    | \A\W*i\s(?:can(?:not|['’]t)|am\s(?:unable|not\sable)\sto|won['’]t|will\snot)\s
      (?:assist|help|provide|fulfil\w*|comply|answer|generate|create|write|engage|do\sthat)\b
    | \bmy\s(?:training|knowledge)\s(?:data\s)?(?:cut-?off|only\sgoes)\b
    """,
    re.I | re.X,
)
_PLACEHOLDER = re.compile(
    r"""lorem\sipsum | <\s?no\s?(?:in|out)put\s?> | \[(?:insert|enter|your|add|fill)\s[^\]\n]{1,40}\]
    | \{\{\s?\w+\s?\}\} | <(?:insert|your|enter)\s[^>\n]{1,40}>
    | \A\W*(?:todo|tbd|n/?a|none|null|nan|undefined|placeholder|test)\W*\Z""",
    re.I | re.X,
)


_MAY_REFUSE = ("an ai", "a ai", "language", "sorry", "apolog", "unfortunately", "my training", "my knowledge")
"""What a text holds, in lower case and with single blanks, in which a refusal may be found anywhere."""
_I_BEGIN = re.compile(r"\W*i\s", re.I)
_HEAD = 80
"""Characters in which the first two words stand, and in which an answer that is nothing but a mark has room."""
_CAPITALS = string.ascii_uppercase.encode()
_LETTERS = string.ascii_letters.encode()
_NO_SYMBOLS = (string.ascii_letters + string.digits + " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f").encode()


def _empty(item: Item) -> bool:
    return _answers(item) and not any(map(str.isalnum, item.answer))


def _echo(item: Item) -> bool:
    if words(item.answer[:_HEAD])[:2] != words(item.prompt[:_HEAD])[:2]:
        return False
    said, asked = words(item.answer), words(item.prompt)
    return _answers(item) and len(said) >= 3 and said == asked


def _refusal(item: Item) -> bool:
    answer = item.answer
    plain = " ".join(answer.lower().split())
    # looked for first, because plain search is fifty times as fast as the pattern
    may = any(mark in plain for mark in _MAY_REFUSE) or _I_BEGIN.match(answer)
    return bool(may) and _answers(item) and _REFUSAL.search(answer) is not None


def _placeholder(item: Item) -> bool:
    answer = item.answer
    may = len(answer.strip()) <= _HEAD or any(mark in answer for mark in "<[{") or "lorem" in answer.lower()
    return may and _answers(item) and _PLACEHOLDER.search(answer) is not None


def _answers(item: Item) -> bool:
    """Whether the row has an answer in words (a label is none)."""
    record = item.record
    called = any(message.extra.get("tool_calls") for message in (record.messages or ())[-1:])
    return record.messages is not None and not called


def _repeated(text: str) -> float:
    """The larger of two shares: words in groups of ten that came before, lines that came before."""
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 3]
    again = sum(count - 1 for count in Counter(lines).values()) / len(lines) if len(lines) >= 4 else 0.0
    found = words(text)
    if len(found) < 20:
        return max(again, _same_word(found))
    groups = list(zip(*(found[start:] for start in range(10)), strict=False))
    if len(set(groups)) == len(groups):
        return again
    seen: set[tuple[str, ...]] = set()
    covered = bytearray(len(found))
    for place, group in enumerate(groups):
        if group in seen:
            covered[place : place + 10] = b"\1" * 10
        seen.add(group)
    return max(again, sum(covered) / len(found))


def _same_word(found: list[str]) -> float:
    """Of a short text: the share of a word that follows itself."""
    pairs = list(pairwise(found))
    return sum(one == other for one, other in pairs) / len(pairs) if len(pairs) >= 4 else 0.0


def _symbols(text: str) -> float:
    if text.isascii():
        return len(text.encode().translate(None, _NO_SYMBOLS)) / len(text)
    return len(_SYMBOL.findall(text)) / len(text)


def _letters(text: str) -> tuple[int, int]:
    """Letters, and capitals among them."""
    if text.isascii():
        signs = text.encode()
        return len(signs) - len(signs.translate(None, _LETTERS)), len(signs) - len(signs.translate(None, _CAPITALS))
    return sum(map(str.isalpha, text)), sum(map(str.isupper, text))


def _spaced(text: str) -> list[str]:
    # scripts that put no blanks between words have long "words" by nature
    return [] if _UNSPACED.search(text) else text.split()


_ANSWER_RULES: Mapping[str, Callable[[Item], bool]] = {
    "empty": _empty,
    "echo": _echo,
    "refusal": _refusal,
    "placeholder": _placeholder,
}
_WORDS: Mapping[Rule, str] = {
    "empty": "the answer has no letter and no digit",
    "echo": "the answer repeats what was asked",
    "refusal": "the answer refuses, or speaks as a language model",
    "placeholder": "the answer was never filled in",
    "repetition": "the text repeats itself",
    "symbols": "too few letters, digits and blanks",
    "shouting": "too many capitals",
    "long-word": "a word is longer than any word",
}
