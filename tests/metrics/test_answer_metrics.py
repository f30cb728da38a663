"""Exact match, F1 and perplexity against values worked out by hand."""

from __future__ import annotations

import math
import re
import string

import pytest

from tunesmith.metrics.exact_match import exact_match
from tunesmith.metrics.f1 import token_f1
from tunesmith.metrics.normalise import normalise, tokens
from tunesmith.metrics.perplexity import perplexity
from tunesmith.metrics.table import METRICS


def squad_official(text: str) -> str:
    """The published procedure: lower, drop punctuation, drop articles, fix blanks."""
    kept = "".join(sign for sign in text.lower() if sign not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


@pytest.mark.parametrize(
    "text",
    ["The  Eiffel-Tower, in Paris!", "an apple a day", "U.S.A.", "it's 1.5", "theory of the\tan other\n", "$5 + €6"],
)
def test_ascii_text_is_normalised_as_the_official_script_does(text: str) -> None:
    assert normalise(text) == squad_official(text)


def test_a_step_that_would_leave_nothing_is_skipped() -> None:
    assert normalise("A.") == "a"
    assert exact_match("the", "A") == 0.0
    assert normalise("+") == "+"
    assert exact_match("-", "+") == 0.0


def test_chinese_and_japanese_characters_are_tokens() -> None:
    assert tokens("北京是中国的首都。") == list("北京是中国的首都")
    assert tokens("東京 Tower 123です") == ["東", "京", "tower", "123", "で", "す"]
    assert exact_match("北京。", " 北 京") == 1.0
    # 3 in common, 4 given, 5 wanted
    assert token_f1("我在北京", "我住在北方") == pytest.approx(2 * 3 / 9)


@pytest.mark.parametrize(
    ("answer", "reference", "f1"),
    [
        ("the cat sat", "a cat sat down", 2 * 2 / 5),
        ("cat cat cat dog", "cat cat bird", 2 * 2 / 7),
        ("cat cat dog", "cat dog dog", 2 * 2 / 6),
        ("red", "blue", 0.0),
        ("", "blue", 0.0),
        ("", "", 1.0),
        ("Blue!", "the blue", 1.0),
    ],
)
def test_f1_by_hand(answer: str, reference: str, f1: float) -> None:
    assert token_f1(answer, reference) == pytest.approx(f1)
    assert token_f1(reference, answer) == pytest.approx(f1)


def test_perplexity_is_one_exponential_over_all_tokens() -> None:
    assert perplexity(10 * math.log(7), 10) == pytest.approx(7)
    assert perplexity(1e6, 1) == math.inf
    with pytest.raises(ValueError, match="at least one token"):
        perplexity(1.0, 0)


def test_every_metric_of_the_table_is_1_for_equal_answers_and_0_for_unrelated_ones() -> None:
    for name in METRICS:
        metric = METRICS.load(name)
        assert (metric("Paris", "paris"), metric("Rome", "paris")) == (1.0, 0.0)
