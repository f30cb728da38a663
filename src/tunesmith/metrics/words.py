"""Words of a text for metrics that count them: every Chinese or Japanese character is one, punctuation is none.

For ASCII text these are the tokens of the `rouge-score` library without its stemmer: lower case, runs of letters and
digits. That library gives no token at all for other scripts, and so 0.0 for two equal Chinese texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from tunesmith.metrics.normalise import UNSPACED

_WORD = re.compile(f"[{UNSPACED}]|[^\\W_{UNSPACED}]+")


def words(text: str) -> list[str]:
    """Lower-cased words of ``text`` after NFKC."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often every run of ``n`` tokens occurs."""
    return Counter(zip(*(tokens[at:] for at in range(n)), strict=False))
