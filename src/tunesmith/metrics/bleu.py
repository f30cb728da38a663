"""BLEU: clipped n-grams of the answers in the references, over the whole corpus (Papineni et al. 2002, P02-1040).

    BLEU = 100 · min(1, e^{1 − r/c}) · (Π_{n=1..4} p_n)^{1/4}        p_n = Σ_u clipped / Σ_u n-grams of the answers

Tokens, closest reference length and smoothing are sacrebleu's (Post 2018), which only counts here: its corpus score is
the same number. The trap is the tokenizer: with the usual one a Chinese sentence is a single word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np

from tunesmith.errors import UserError
from tunesmith.metrics.base import Array, Metric, Unit

_KANA = re.compile("[\u3040-\u30ff]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


class Bleu(Metric):
    """BLEU in 0 to 100: n-grams of the answers that stand in their references, over all rows together (sacrebleu).

    Needs the extra `eval`.
    """

    NAME: ClassVar[str] = "bleu"
    paper: ClassVar[str] = "Papineni et al. 2002, ACL P02-1040; Post 2018, arXiv:1804.08771"

    tokenize: Literal["auto", "13a", "intl", "zh", "char", "none"] = "auto"
    """sacrebleu's tokenizer. `auto` looks at the references: `char` for Japanese, `zh` for Chinese, else `13a`."""

    def ready(self) -> None:
        """Import sacrebleu."""
        _library()

    def parts(self, units: Sequence[Unit]) -> Array:
        """``[U, 10]``: clipped and all n-grams for n = 1..4, tokens of the answer and of the closest reference."""
        counts = counter(self.tokenize if self.tokenize != "auto" else tokenizer_for(units))
        return np.array([_summed([_counts(counts, answer, unit) for answer in unit.answers]) for unit in units])

    def value(self, sums: Array) -> Array:
        """BLEU of summed counts."""
        return np.array([bleu(row) for row in sums.reshape(-1, 10)]).reshape(sums.shape[:-1])


def _summed(rows: Sequence[Sequence[int]]) -> Array:
    return np.sum(np.array(rows, dtype=np.float64), axis=0)


def _counts(counts: Any, answer: str, unit: Unit) -> list[int]:
    found = counts.sentence_score(answer, list(unit.references))
    return [*found.counts, *found.totals, found.sys_len, found.ref_len]


def bleu(counts: Array) -> float:
    """BLEU of ``[10]`` summed counts, with sacrebleu's default smoothing."""
    numbers = [int(count) for count in counts]
    correct, total, (said, wanted) = numbers[:4], numbers[4:8], numbers[8:]
    return float(_library().BLEU.compute_bleu(correct, total, said, wanted, smooth_method="exp").score)


def tokenizer_for(units: Sequence[Unit]) -> str:
    """sacrebleu's tokenizer for the references' script: most of them decide."""
    texts = [text for unit in units for text in unit.references]
    kana, han = (sum(bool(script.search(text)) for text in texts) for script in (_KANA, _HAN))
    if 2 * kana > len(texts):
        return "char"
    return "zh" if 2 * han > len(texts) else "13a"


@cache
def counter(tokenize: str) -> Any:
    """sacrebleu's counter of one sentence."""
    return _library().BLEU(tokenize=tokenize, effective_order=True)


def _library() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise UserError(
            "the metric bleu needs sacrebleu",
            hint="Install it with: pip install 'tunesmith[eval]'",
            code="missing-extra",
        ) from None
    return metrics
