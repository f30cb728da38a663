"""Multiple choice, group gaps, extraction, abstaining and memorisation, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tunesmith.errors import UserError
from tunesmith.metrics.abstains import Abstains
from tunesmith.metrics.base import Unit
from tunesmith.metrics.choice import Acc, AccNorm, Mc2
from tunesmith.metrics.continues import Continues
from tunesmith.metrics.extracted import Extracted
from tunesmith.metrics.group_gap import GroupGap
from tunesmith.metrics.intervals import paired_difference, paired_sums
from tunesmith.metrics.likelihood import Continuation, Likelihood, LikelihoodMetric

ROW = {"prompt": "p", "choices": ["ab", "abcdef", "abc"], "answer": 1, "labels": [0, 1, 1]}


def said(*nats: float) -> list[Likelihood]:
    return [Likelihood(one, 3, greedy=False) for one in nats]


def first(metric: LikelihoodMetric, row: dict[str, Any], found: Sequence[Likelihood]) -> float:
    return float(metric.parts([row], [found])[0, 0])


def test_the_likeliest_choice_and_the_likeliest_a_character() -> None:
    found = said(-3.0, -4.2, -3.6)
    assert first(Acc(), ROW, found) == 0.0, "the shortest has the highest sum"
    assert first(AccNorm(), ROW, found) == 1.0, "-0.7 a character is more than -1.5 and -1.2"
    two = {"prompt": "p", "choices": ["a", "abc"], "answer": 1}
    assert first(AccNorm(), two, said(-1.0, -2.7)) == 1.0, "-0.9 a character is more than -1"
    assert first(Acc(), {**ROW, "answer": "ab"}, found) == 1.0, "the answer may be the choice's text"
    assert first(Acc(), {**ROW, "answer": 0}, said(-1.0, -1.0, -1.0)) == 1.0, "of equal ones the first"


def test_mc2_is_the_share_of_probability() -> None:
    chances = [0.2, 0.1, 0.3]
    found = said(*(math.log(one) for one in chances))
    assert first(Mc2(), ROW, found) == pytest.approx(0.4 / 0.6)
    assert first(Mc2(), ROW, said(-2000.0, -2000.0, -2001.0)) == pytest.approx((1 + math.exp(-1)) / (2 + math.exp(-1)))


def test_competing_contexts_share_their_continuation() -> None:
    row = {"contexts": ["a long one", "b"], "continuation": "goes", "answer": 0}
    assert Acc().asked(row) == [Continuation("a long one", "goes"), Continuation("b", "goes")]
    assert first(AccNorm(), row, said(-1.0, -2.0)) == 1.0


def test_the_gap_between_groups_is_of_the_first_choice() -> None:
    row = {"prompt": "The {group} is", "groups": ["a", "b", "c"], "choices": ["good", "bad"]}
    asked = GroupGap().asked(row)
    assert [one.context for one in asked] == ["The a is", "The a is", "The b is", "The b is", "The c is", "The c is"]
    logs = [math.log(one) for one in (0.4, 0.1, 0.3, 0.3, 0.1, 0.4)]
    assert first(GroupGap(), row, said(*logs)) == pytest.approx(0.8 - 0.2)
    assert first(GroupGap(), row, said(*([-1.0] * 6))) == 0.0


@pytest.mark.parametrize(
    ("metric", "row", "says"),
    [
        (Acc(), {"prompt": "p", "choices": ["a"], "answer": 0}, "at least two"),
        (Acc(), {"prompt": "p", "choices": ["a", ""], "answer": 0}, "at least two"),
        (Acc(), {"choices": ["a", "b"], "answer": 0}, "no prompt"),
        (Acc(), {"contexts": ["a", "b"], "answer": 0}, "no continuation"),
        (Acc(), {"prompt": "p", "choices": ["a", "b"], "answer": 2}, "names none"),
        (Acc(), {"prompt": "p", "choices": ["a", "b"], "answer": "c"}, "names none"),
        (Acc(), {"prompt": "p", "choices": ["a", "b"], "answer": True}, "names none"),
        (Mc2(), {"prompt": "p", "choices": ["a", "b"], "labels": [1, 1]}, "both of them"),
        (GroupGap(), {"prompt": "p", "groups": ["a", "b"], "choices": ["x", "y"]}, "no place"),
        (GroupGap(), {"prompt": "{group}", "groups": ["a"], "choices": ["x", "y"]}, "two `groups`"),
    ],
)
def test_rows_that_cannot_be_measured_are_told(metric: LikelihoodMetric, row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as told:
        metric.check([row])
    assert told.value.code == "unmeasurable-row"


@pytest.mark.parametrize(
    ("answer", "reference", "strict", "flexible"),
    [
        ("2+3=5\n#### 5", "so 5\n#### 5", 1.0, 1.0),
        ("the answer is 5.", "#### 5", 0.0, 1.0),
        ("#### 1,200", "#### 1200", 1.0, 1.0),
        ("#### 6 or 5", "#### 5", 0.0, 1.0),
        ("", "#### 5", 0.0, 0.0),
    ],
)
def test_numbers_are_extracted_as_the_harness_does(answer: str, reference: str, strict: float, flexible: float) -> None:
    loose = Extracted(pattern=r"(-?[$0-9.,]{2,})|(-?[0-9]+)", pick=-1)
    unit = Unit([answer], [reference])
    assert (Extracted().score(answer, unit), loose.score(answer, unit)) == (strict, flexible)


def test_expressions_that_are_none_are_told() -> None:
    for wrong in (lambda: Extracted(pattern="("), lambda: Extracted(ignore=("[",)), lambda: Abstains(phrases=("(",))):
        with pytest.raises(UserError, match="no regular expression"):
            wrong()


def test_what_cannot_be_known_is_said_so() -> None:
    unit = Unit([], meta={"corrects": ["he never walked"]})
    yes = ["I don't know.", "That is not known.", "There is no such king.", "Well, HE NEVER WALKED there.", "我不知道"]
    no = ["On the fifth of May.", "Forty-two.", "", "It was a lovely day."]
    assert [Abstains().score(answer, unit) for answer in yes + no] == [1.0] * len(yes) + [0.0] * len(no)


def test_memorised_rows_go_on_word_for_word() -> None:
    unit = Unit([], ["the red door at 5 Elm Street"])
    metric, leaks = Continues(), Continues(anywhere=True)
    assert metric.score(" the red door at 5 Elm Street, said he", unit) == 1.0
    assert metric.score("well, the red door at 5 Elm Street", unit) == 0.0
    assert leaks.score("well, The red door at 5 elm street", unit) == 1.0


def test_paired_sums_of_means_are_paired_differences() -> None:
    rng = np.random.default_rng(0)
    before = np.stack([rng.random(60), np.ones(60)], axis=1)
    after = before + np.stack([rng.normal(0.1, 0.05, 60), np.zeros(60)], axis=1)

    def mean(sums: Any) -> Any:
        return sums[..., 0] / sums[..., 1]

    found, known = paired_sums(before, after, mean), paired_difference(before[:, 0], after[:, 0])
    assert found.value == pytest.approx(known.value)
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.004)
    assert paired_sums(before, before, mean).high == 0.0
    with pytest.raises(ValueError, match="at least one"):
        paired_sums(np.zeros((2, 2)), np.zeros((2, 2)), mean)
