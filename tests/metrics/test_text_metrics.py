"""BLEU, chrF and ROUGE against their reference libraries on real rows; counts worked out by hand."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tunesmith.errors import UserError
from tunesmith.metrics import TABLE
from tunesmith.metrics.base import Metric, Unit
from tunesmith.metrics.bleu import Bleu, tokenizer_for
from tunesmith.metrics.chrf import Chrf
from tunesmith.metrics.distinct import Distinct
from tunesmith.metrics.exact_match import ExactMatch
from tunesmith.metrics.f1 import TokenF1
from tunesmith.metrics.intervals import Estimate
from tunesmith.metrics.length import Length
from tunesmith.metrics.pass_at_k import pass_at_k
from tunesmith.metrics.perplexity import BitsPerByte, Losses, Perplexity
from tunesmith.metrics.refusal import Refusal
from tunesmith.metrics.repetition import Repetition
from tunesmith.metrics.rouge import Rouge1, Rouge2, RougeL, common_subsequence
from tunesmith.metrics.win_rate import win_rate
from tunesmith.metrics.words import words


def units(answers: Sequence[str], references: Sequence[Sequence[str]]) -> list[Unit]:
    return [Unit([answer], several) for answer, several in zip(answers, references, strict=True)]


@pytest.fixture(scope="module")
def english(real_data: Path) -> list[Unit]:
    """E2E: the first sentence of a meaning stands for the answer, the others are its references."""
    told: defaultdict[str, list[str]] = defaultdict(list)
    for line in (real_data / "nlg/e2e_valid.txt").read_text(encoding="utf-8").splitlines():
        meaning, _, text = line.partition("||")
        told[meaning].append(text.strip())
    several = [texts for texts in told.values() if len(texts) > 2][:150]
    return [Unit([texts[0]], texts[1:]) for texts in several]


@pytest.fixture(scope="module")
def chinese(real_data: Path) -> list[Unit]:
    """Real answers with every third character left out, against themselves."""
    rows = json.loads((real_data / "sft/alpaca_zh_demo.json").read_text(encoding="utf-8"))
    texts = [row["output"][:120] for row in rows if len(row["output"]) > 30][:60]
    return units(["".join(sign for at, sign in enumerate(text) if at % 3) for text in texts], [[one] for one in texts])


def columns(rows: Sequence[Unit]) -> tuple[list[str], list[list[str | None]]]:
    """Answers and references as sacrebleu takes them: a list for each place, with gaps."""
    most = max(len(unit.references) for unit in rows)
    padded: list[list[str | None]] = [
        [unit.references[at] if at < len(unit.references) else None for unit in rows] for at in range(most)
    ]
    return [unit.answers[0] for unit in rows], padded


def test_bleu_and_chrf_of_several_references_are_sacrebleu_s(english: list[Unit]) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    answers, references = columns(english)
    found = Bleu().estimate(english)
    assert found.value == pytest.approx(sacrebleu.corpus_bleu(answers, references).score, abs=1e-9)
    assert found.low < found.value < found.high
    chrf = Chrf().estimate(english)
    assert chrf.value == pytest.approx(sacrebleu.corpus_chrf(answers, references).score, abs=1e-9)
    assert chrf.low < chrf.value < chrf.high


def test_bleu_and_chrf_of_chinese_are_sacrebleu_s(chinese: list[Unit]) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    answers, references = columns(chinese)
    assert tokenizer_for(chinese) == "zh"
    wanted = sacrebleu.corpus_bleu(answers, references, tokenize="zh").score
    assert Bleu().estimate(chinese).value == pytest.approx(wanted, abs=1e-9)
    assert wanted > 2 * sacrebleu.corpus_bleu(answers, references).score, "the usual tokenizer sees one word a sentence"
    assert Chrf().estimate(chinese).value == pytest.approx(sacrebleu.corpus_chrf(answers, references).score, abs=1e-9)


@pytest.mark.parametrize(("metric", "name"), [(Rouge1(), "rouge1"), (Rouge2(), "rouge2"), (RougeL(), "rougeL")])
def test_rouge_is_the_library_s_on_english(english: list[Unit], metric: Rouge1, name: str) -> None:
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    scorer = rouge_scorer.RougeScorer([name])
    ascii_rows = [unit for unit in english if all(text.isascii() for text in (*unit.answers, *unit.references))]
    assert len(ascii_rows) > 50
    for unit in ascii_rows:
        wanted = scorer.score_multi(unit.references, unit.answers[0])[name].fmeasure
        assert metric.score(unit.answers[0], unit) == pytest.approx(wanted, abs=1e-12)


def test_rouge_sees_chinese(chinese: list[Unit]) -> None:
    same = units([unit.references[0] for unit in chinese], [unit.references for unit in chinese])
    assert RougeL().estimate(same).value == 1.0
    # two of three characters are kept in their order: P = 1, R = 2/3, less where numbers and Latin words are broken
    assert 0.7 < RougeL().estimate(chinese).value < 0.8
    assert RougeL().score("北京是首都", Unit([], ["北京是中国的首都。"])) == pytest.approx(2 * 5 / (5 + 8))
    assert Rouge2().score("北京是首都", Unit([], ["北京是中国的首都。"])) == pytest.approx(2 * 3 / (4 + 7))


def test_words_and_subsequences_by_hand() -> None:
    assert words("東京タワー, Tower_2 isn’t") == [*"東京タワー", "tower", "2", "isn", "t"]
    assert common_subsequence("abcbdab", "bdcaba") == 4
    assert common_subsequence("", "ab") == common_subsequence("ab", "") == common_subsequence("xyz", "ab") == 0


def test_the_best_of_several_references_counts() -> None:
    several = Unit(["Paris"], ["the capital", "paris!"])
    assert ExactMatch().score("Paris", several) == 1.0
    assert TokenF1().score("Paris capital", several) == pytest.approx(2 / 3)
    with pytest.raises(UserError, match=r"row 2 .* no reference answer") as told:
        ExactMatch().estimate([several, Unit(["x"], [], prompt="Who?")])
    assert told.value.code == "unmeasurable-row"


def test_counts_of_one_answer_by_hand() -> None:
    loop = [Unit(["a b a b a b a b"]), Unit(["one two three four five"])]
    # 4-grams: abab and baba of 5, then 2 of 2
    assert Repetition().estimate(loop).value == pytest.approx(1 - 4 / 7)
    # bigrams: ab and ba of 7, then 4 of 4
    assert Distinct().estimate(loop).value == pytest.approx(6 / 11)
    assert Distinct(n=1).estimate([Unit(["北北京"]), Unit([""])]) == Estimate(2 / 3, -math.inf, math.inf, 1)
    assert Length().estimate([Unit(["one two"]), Unit(["北京 x y"]), Unit([""])]).value == 2.0
    assert Length(unit="characters").estimate([Unit(["ab c"]), Unit([""])]).value == 2.0
    with pytest.raises(UserError, match="nothing to measure") as told:
        Repetition().estimate([Unit([""]), Unit(["too short"])])
    assert told.value.code == "nothing-measured"


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I'm sorry, but I can't help with that.", 1.0),
        ("I’m really sorry to say no.", 1.0),
        ("As an AI language model, I do not", 1.0),
        ("很抱歉，我不能提供", 1.0),
        ("The capital of France is Paris.", 0.0),
        ("Sorry to hear that! Rest, drink, and sleep.", 0.0),
        ("x" * 300 + " I cannot", 0.0),
    ],
)
def test_refusals(answer: str, refused: float) -> None:
    assert Refusal().score(answer, Unit([answer])) == refused


def test_refusal_phrases_may_be_one_s_own() -> None:
    assert Refusal(phrases=("^no$",)).score("No", Unit(["No"])) == 1.0
    with pytest.raises(UserError, match="no regular expression"):
        Refusal(phrases=("(",))


def test_pass_at_k_is_the_share_of_choices_with_one_that_passes() -> None:
    from itertools import combinations

    for n, c, k in ((5, 2, 1), (5, 2, 3), (6, 0, 2), (4, 4, 2), (6, 1, 6)):
        choices = list(combinations([1] * c + [0] * (n - c), k))
        assert pass_at_k(n, c, k) == pytest.approx(np.mean([max(choice) for choice in choices]))
    with pytest.raises(ValueError, match="pass@3"):
        pass_at_k(2, 1, 3)


def test_losses_become_perplexity_and_bits() -> None:
    losses = Losses(np.array([2.0, 4.0]) * math.log(2), np.array([1.0, 2.0]), np.array([4.0, 8.0]))
    assert Perplexity().of(losses).value == pytest.approx(4.0)
    assert BitsPerByte().of(losses).value == pytest.approx(0.5)


def test_win_rate_counts_ties_half() -> None:
    assert win_rate([1, 1, 0.5, 0]).value == pytest.approx(0.625)
    assert win_rate([1.0] * 40).low == pytest.approx(1 - 3.8415 / 43.8415, rel=1e-4)
    with pytest.raises(ValueError, match="votes are in"):
        win_rate([2.0])


def test_every_metric_of_answers_is_best_for_equal_ones_and_knows_its_direction() -> None:
    for name in TABLE:
        metric = TABLE.load(name)()
        assert name == metric.NAME
        if not isinstance(metric, Metric) or not metric.needs_references or name in ("numeric", "extracted"):
            continue
        text = "the river is long and it has 12 towns"
        good, bad = (metric.estimate(units([answer] * 3, [[text]] * 3)).value for answer in (text, "qqq zzz"))
        assert good == pytest.approx(100.0 if name in ("bleu", "chrf") else 1.0)
        assert bad < 0.05 * good
