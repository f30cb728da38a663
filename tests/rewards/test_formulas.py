"""Rewards that are formulas, against numbers worked out by hand."""

from __future__ import annotations

import pytest
from reward_samples import said

from tunesmith.errors import UserError
from tunesmith.rewards.exact import Exact
from tunesmith.rewards.format import Format
from tunesmith.rewards.length import Length
from tunesmith.rewards.numeric import Numeric
from tunesmith.rewards.overlong import Overlong


@pytest.mark.parametrize(
    ("answer", "options", "score"),
    [
        (" Paris\n", {}, 1.0),
        ("paris", {}, 0.0),
        ("The  Paris.", {}, 0.0),
        ("the paris.", {"loose": True}, 1.0),
        ("I think. Answer: Paris", {"after": "Answer:"}, 1.0),
        ("Answer: Rome. Answer: Paris", {"after": "Answer:"}, 1.0),
        ("Paris", {"after": "Answer:"}, 0.0),
        ("", {}, 0.0),
    ],
)
def test_exact(answer: str, options: dict[str, object], score: float) -> None:
    assert Exact(**options).score([said(answer, "Paris")]) == [score]


def test_numeric_scores_the_answer_against_the_reference() -> None:
    answers = ["It is 18.", "#### 18.0", "17", "eighteen", "-18"]
    samples = [said(answer, "3 + 15 = <<3+15=18>>18\n#### 18") for answer in answers]
    assert Numeric().score(samples) == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert Numeric(tolerance=0.1).score(samples) == [1.0, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("reference", [None, "", "no number here"])
def test_numeric_names_the_row_that_has_no_number(reference: str | None) -> None:
    with pytest.raises(UserError, match=r"numeric cannot score sample 2 \('How many ducks\?'\)") as raised:
        Numeric().score([said("1", "1"), said("1", reference)])
    assert raised.value.code == "unscorable-row"


def test_exact_needs_a_reference() -> None:
    with pytest.raises(UserError, match="exact cannot score sample 1"):
        Exact().score([said("Paris", " ")])


@pytest.mark.parametrize(
    ("options", "answer", "score"),
    [
        ({"pattern": "<a>.+</a>"}, "so\n<a>1\n2</a> done", 1.0),
        ({"pattern": "<a>.+</a>"}, "<a></a>", 0.0),
        ({"pattern": "<a>.+</a>", "whole": True}, "so <a>1</a>", 0.0),
        ({"pattern": "<a>.+</a>", "whole": True}, " <a>1</a>\n", 1.0),
        ({"pattern": "<A>"}, "<a>", 0.0),
        ({"pattern": "<A>", "ignore_case": True}, "<a>", 1.0),
    ],
)
def test_format(options: dict[str, object], answer: str, score: float) -> None:
    assert Format(**options).score([said(answer), said("")]) == [score, 0.0]


def test_a_pattern_that_takes_exponential_time_is_ended() -> None:
    reward = Format(pattern="(a+)+$", timeout=0.5)
    with pytest.raises(UserError, match=r"format failed on sample 2 .*it did not end within 0\.5 seconds"):
        reward.score([said("aaa"), said("a" * 60 + "b")])
    assert reward.score([said("aaa"), said("b")]) == [1.0, 0.0], "it goes on after that"


def test_length_falls_linearly_outside_its_range() -> None:
    """At 5 to 10 with slack 4: 3 tokens are 2 short, 1 - 2/4; 13 are 3 over, 1 - 3/4."""
    reward = Length(at_least=5, at_most=10, slack=4)
    lengths = (0, 1, 3, 5, 10, 13, 14, 99)
    assert reward.score([said(tokens=n) for n in lengths]) == [0.0, 0.0, 0.5, 1.0, 1.0, 0.25, 0.0, 0.0]
    assert Length(at_least=2).score([said(tokens=1), said(tokens=10**6)]) == [0.0, 1.0]
    assert Length(at_most=2, unit="words").score([said("a b", tokens=9), said("a b c")]) == [1.0, 0.0]
    assert Length(at_most=3, unit="characters").score([said("a b"), said("a b c")]) == [1.0, 0.0]


def test_overlong_is_equation_13_of_dapo() -> None:
    """L_max 20, L_cache 4: 0 up to 16; (16 - 17) / 4, (16 - 18) / 4, (16 - 20) / 4; -1 beyond."""
    lengths = (0, 16, 17, 18, 20, 21, 500)
    scores = Overlong(limit=20, buffer=4).score([said(tokens=n) for n in lengths])
    assert scores == [0.0, 0.0, -0.25, -0.5, -1.0, -1.0, -1.0]
    assert Overlong(limit=20, buffer=4).score([said(tokens=3, truncated=True)]) == [-1.0]


@pytest.mark.parametrize(
    ("config", "options", "words"),
    [
        (Overlong, {"limit": 4, "buffer": 5}, "buffer"),
        (Length, {}, "at_least, at_most"),
        (Length, {"at_least": 5, "at_most": 4}, "less than"),
        (Format, {"pattern": "("}, "no regular expression"),
        (Numeric, {"tolerance": -1}, "tolerance"),
        (Numeric, {"weight": float("nan")}, "weight"),
        (Numeric, {"tolerence": 1}, "Did you mean 'tolerance'"),
    ],
)
def test_wrong_options_are_refused(config: type, options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        config(**options)
