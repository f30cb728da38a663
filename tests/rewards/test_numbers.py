"""The number of an answer: written forms by hand, and the references of real rows."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from tunesmith.rewards.numbers import Number, answer_number

WRITTEN = {
    "18": 18,
    "18.": 18,
    "−7": -7,
    "x = -7.5": Fraction(-15, 2),
    "+5": 5,
    ".5": Fraction(1, 2),
    "$1,234.50": Fraction(2469, 2),
    "-$5": -5,
    "$-5": -5,
    r"\$18": 18,
    "12,345,678": 12_345_678,
    "1{,}234": 1234,
    r"10\,000": 10_000,
    "10\u202f000": 10_000,
    "2.5e3": 2500,
    r"2.5 \times 10^{3}": 2500,
    r"3\cdot10^{-2}": Fraction(3, 100),
    "3/4": Fraction(3, 4),
    "3 / 4": Fraction(3, 4),
    "1 1/2 cups": Fraction(3, 2),
    r"\frac{3}{4}": Fraction(3, 4),
    r"-\frac{1}{2}": Fraction(-1, 2),
    r"2\frac{1}{2}": Fraction(5, 2),
    r"\dfrac12": Fraction(1, 2),
    "20th": 20,
    "5-3": 3,
    "10–20": 20,
    "12/25/2020": 12,
    "gpt-4": 4,
    "3,5": 5,
    "1,234,56": 56,
}
PLACES = {
    "I count 20, no 18.\n#### 18\nDone in 3 steps.": 18,
    "#### 1. First\n2 + 2\n#### $70,000.": 70_000,
    "#### Step 3\nso 42": 42,
    r"so \boxed{\frac{3}{4}} of 12": Fraction(3, 4),
    r"\boxed{4} and \boxed{x = 5}, in 3 steps": 5,
    r"\boxed{\text{of } {7}} 8": 7,
    r"#### 4 but \boxed{5}": 5,
    r"\boxed{5} but #### 4": 4,
    "<answer>12</answer> in 5 steps": 12,
    "The answer is **42**. I used 3 steps.": 42,
    "Answer: 42 apples for 3 people": 42,
    "the answer is unclear, perhaps 7": 7,
    "first 3, then 9": 9,
}


@pytest.mark.parametrize("text", WRITTEN)
def test_numbers_as_they_are_written(text: str) -> None:
    assert answer_number(text) == Number(Fraction(WRITTEN[text]))


@pytest.mark.parametrize("text", PLACES)
def test_where_answers_are_put(text: str) -> None:
    found = answer_number(text)
    assert found is not None
    assert found.value == PLACES[text]


@pytest.mark.parametrize(
    "text", ["", "none", "H2O and x2", "1/0", "v1.2.3", "1e999999999", "7" * 5000, r"6 \boxed{\text{no}}", "1e-101"]
)
def test_what_is_no_number(text: str) -> None:
    assert answer_number(text) is None


@pytest.mark.parametrize(
    ("said", "right", "tolerance", "equal"),
    [
        ("50%", "0.5", 0.0, True),
        ("50%", "50", 0.0, True),
        ("0.5", "50%", 0.0, True),
        ("50", "50%", 0.0, True),
        ("50%", "5000%", 0.0, False),
        ("0.5", "50", 0.0, False),
        ("1/2", "0.5", 0.0, True),
        ("0.33", "1/3", 0.0, False),
        ("0.33", "1/3", 0.01, True),  # 1/3 - 0.33 = 0.0033
        ("101", "100", 0.01, True),  # the bound is 1
        ("101.1", "100", 0.01, False),
        ("-18", "18", 0.0, False),
        ("0.1", "0.10", 0.0, True),
    ],
)
def test_equality(said: str, right: str, tolerance: float, equal: bool) -> None:
    first, second = answer_number(said), answer_number(right)
    assert first is not None
    assert second is not None
    assert first.equals(second, tolerance=tolerance) is equal


@pytest.mark.parametrize(
    "piece", ["1,", "1 ", "1/", "-", "- ", "$ ", "{", r"\boxed{", "answer is ", r"\frac{1", "1,111", "####"]
)
def test_time_is_linear_in_what_a_model_repeats(piece: str) -> None:
    """A pattern that backtracks quadratically would need minutes here."""
    answer_number(piece * (200_000 // len(piece)))


def test_every_gsm8k_reference_is_read(real_data: Path) -> None:
    rows = [json.loads(line) for line in (real_data / "qa" / "gsm8k_test.jsonl").open()]
    assert len(rows) == 1319
    for row in rows:
        right = int(row["answer"].rpartition("#### ")[2].replace(",", ""))
        for text in (row["answer"], f"So it is $\\boxed{{{right:,}}}$.", f"The answer is ${right:,}.00, I am sure."):
            assert answer_number(text) == Number(Fraction(right))


def test_every_multiarith_solution_is_read(real_data: Path) -> None:
    rows = json.loads((real_data / "qa" / "multiarith.json").read_text())
    assert len(rows) == 600
    for row in rows:
        (right,) = row["lSolutions"]
        assert answer_number(f"{row['sQuestion']} Answer: {right}") == Number(Fraction(right))
        assert answer_number(f"{row['sQuestion']} {right:g}.") == Number(Fraction(right))
