"""A tiny text grammar: `{a|b|c}` chooses one (and may nest), `[name]` is filled from a dictionary.

Afterwards `a` becomes `an` before a vowel and every sentence begins with a capital, so that templates need not care.
Trap: the choice is made before the slots are filled, so a filled-in value may contain any character.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

_CHOICE = re.compile(r"\{([^{}]*)\}")
_SLOT = re.compile(r"\[(\w+)\]")
_ARTICLE = re.compile(r"\b([Aa]) (?!use|uni|one)(?=[aeiouAEIOU])")
_START = re.compile(r"(^\"?|[.!?] \"?|\.\" )([a-z])")


def say(rng: Random, template: str, slots: Mapping[str, object], *, capital: bool = True) -> str:
    """Sentences from a template, with capitals unless `capital` is off; `KeyError` when a slot has no value."""
    while "{" in template:
        template = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), template)
    text = _SLOT.sub(lambda match: str(slots[match[1]]), template)
    text = _ARTICLE.sub(r"\1n ", text)
    return _START.sub(lambda match: match[1] + match[2].upper(), text) if capital else text


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
