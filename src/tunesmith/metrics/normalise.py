"""How answers are made comparable before they are compared (Rajpurkar et al. 2016, SQuAD evaluation script).

Lower case, no punctuation, no English articles, single blanks. For ASCII text this equals the official script, with
two additions: text is NFKC-normalised and every Unicode punctuation mark counts (Chinese and Japanese full stops), and
a step that would leave nothing is skipped, so that the answer ``A`` of a multiple choice is not an empty article.

The trap, which is the script's own: signs and decimal points are punctuation, so ``-3`` equals ``3`` and ``1.5`` equals
``15``. Numbers that matter need a numeric metric.
"""

from __future__ import annotations

import re
import string
import unicodedata

_ARTICLES = re.compile(r"\b(a|an|the)\b")
UNSPACED = "\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
"""Characters (for a class of a regular expression) of scripts that put no blanks between words."""
_TOKEN = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")


def normalise(text: str) -> str:
    """``text`` in the form in which two answers are compared."""
    text = " ".join(unicodedata.normalize("NFKC", text).lower().split())
    for step in (_without_punctuation, _without_articles):
        text = step(text) or text
    return text


def tokens(text: str) -> list[str]:
    """Words of the normalised text; where words are not spaced (Chinese, Japanese) every character is one."""
    return _TOKEN.findall(normalise(text))


def _without_punctuation(text: str) -> str:
    return "".join(sign for sign in text if not _is_punctuation(sign)).strip()


def _without_articles(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text).split())


def _is_punctuation(sign: str) -> bool:
    return sign in string.punctuation or unicodedata.category(sign).startswith("P")
