"""Which language a text is in, by simple statistics: its script, and the small words of a few languages.

A script decides at once where it stands for one language (``greek``, ``hangul`` …). Among languages in Latin letters
the one whose commonest words make the largest share of the text is taken, from ``WORDS_NEEDED`` words on and where it
leads; a text that is too short to tell is kept.

The trap: this tells English from German, not Serbian from Croatian, and knows no language that is not listed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tunesmith.data.curate.base import Drop, Item, Part, RowStep
from tunesmith.data.curate.texts import words

Script = Literal[
    "latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "thai", "hangul", "kana", "han", "other"
]
Code = Literal["en", "de", "fr", "es", "it", "pt", "nl"]
WORDS_NEEDED = 8
_RANGES: Mapping[Script, str] = {
    "latin": "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
    "cyrillic": "\u0400-\u052f",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "arabic": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufeff",
    "hebrew": "\u0590-\u05ff",
    "devanagari": "\u0900-\u097f",
    "thai": "\u0e00-\u0e7f",
    "hangul": "\u1100-\u11ff\uac00-\ud7af",
    "kana": "\u3040-\u30ff",
    "han": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
}
_SCRIPTS: Mapping[Script, re.Pattern[str]] = {name: re.compile(f"[{signs}]") for name, signs in _RANGES.items()}
_SMALL_WORDS: Mapping[Code, str] = {
    "en": "the of and to in is that it was for on are with as be at this have from or by not but what",
    "de": "der die und in das den von zu mit sich des auf für ist im dem nicht ein eine als auch es an",
    "fr": "de la le et les des en un une du est que dans qui pour sur pas au plus par il ne ce avec",
    "es": "de la que el en y los se del las un por con una su para es al lo como más pero sus no",
    "it": "di e il la che in un per è una sono con non del della le i si gli da al nel più come",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas ao",
    "nl": "de van het een en in is dat op te zijn met voor niet aan er om ook als maar bij of uit die",
}


class Language(RowStep):
    """Drops rows in other scripts or languages than the ones that are wanted."""

    NAME: ClassVar[str] = "language"

    scripts: list[Script] = []
    """Wanted scripts; Japanese is `[kana, han]`."""
    languages: list[Code] = []
    """Wanted languages among those in Latin letters; texts in other scripts are then judged by `scripts` alone."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Least share of a text's letters in the wanted scripts."""
    of: Part = "row"
    """What is looked at: the whole `row`, its `prompt` or its `answer`."""

    @model_validator(mode="after")
    def _wants_something(self) -> Self:
        if not self.scripts and not self.languages:
            raise ValueError("name `scripts`, such as [latin], or `languages`, such as [en]")
        return self

    def look(self, item: Item) -> Drop | None:
        """Dropped where too few letters are of a wanted script, or the language is another."""
        text = item.of(self.of)
        counts = script_counts(text)
        letters = counts.total()
        wanted = {*self.scripts, *(("latin",) if self.languages else ())}
        if letters and sum(counts[script] for script in wanted) < self.share * letters:
            return Drop(f"its script is {counts.most_common(1)[0][0]}")
        if self.languages and counts["latin"] * 2 > letters:
            found = language_of(text)
            if found is not None and found not in self.languages:
                return Drop(f"its language is {found}")
        return None


def script_counts(text: str) -> Counter[Script]:
    """Script -> letters of it in ``text``."""
    if text.isascii():
        return Counter({"latin": sum(map(str.isalpha, text))})
    found: Counter[Script] = Counter({name: len(signs.findall(text)) for name, signs in _SCRIPTS.items()})
    found["other"] = max(0, sum(map(str.isalpha, text)) - found.total())
    return +found


def tongue_of(text: str) -> str:
    """The language of ``text``, or its script: ``en``, ``latin, unknown``, ``greek``, ``no letters``."""
    scripts = script_counts(text)
    if not scripts:
        return "no letters"
    script = scripts.most_common(1)[0][0]
    return language_of(text) or "latin, unknown" if script == "latin" else script


def language_of(text: str) -> Code | None:
    """The language in Latin letters whose small words lead; None where there are too few words, or none leads."""
    found = words(text)
    if len(found) < WORDS_NEEDED:
        return None
    counts = Counter(found)
    shares = {code: sum(counts[word] for word in small.split()) / len(found) for code, small in _SMALL_WORDS.items()}
    first, second = sorted(shares, key=lambda code: -shares[code])[:2]
    return first if shares[first] > 0.1 and shares[first] > 1.3 * shares[second] else None
