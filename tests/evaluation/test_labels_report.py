"""Reports of task heads: metrics, intervals, change paired by unit, through JSON and back; answers out of windows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tunesmith.contracts.objective import TaskHead
from tunesmith.data.framing import Window
from tunesmith.evaluation.comparison import compare_labels
from tunesmith.evaluation.labels import ENTITIES, LOWER_IS_BETTER, NAMES, Given, LabelReport, metric_names
from tunesmith.evaluation.spans import best_answer


def given(
    problem: Any, wanted: list[Any], said: list[Any], labels: tuple[str, ...] = ("a", "b"), **columns: Any
) -> Given:
    units = len(wanted)
    return Given(
        problem,
        labels,
        np.linspace(0.1, 1.0, units),
        np.full(units, 2.0),
        wanted,
        said,
        {name: np.array(values, dtype=np.float64) for name, values in columns.items()},
        np.arange(units) % 2,
        np.arange(units) + 100,
    )


CASES = {
    "class": given(
        "class",
        [0, 1, 1, 0],
        [0, 1, 0, 0],
        accuracy=[1, 1, 0, 1],
        confidence=[0.9, 0.8, 0.7, 0.6],
        auroc=[1, 1, 0.5, 0.5],
    ),
    "classes": given("classes", [[0], [], [0, 1], [1]], [[0], [1], [0, 1], []]),
    "number": given("number", [1.0, 2.0, 3.0, 5.0], [1.5, 2.0, 2.5, 5.0]),
    "tokens": given("tokens", [[0, 1], [1], [0], [1, 1]], [[0, 0], [1], [0], [1, 0]]),
    "span": given("span", [["x"]] * 4, ["x", "y", "x", ""], exact_match=[1, 0, 1, 0], f1=[1, 0.5, 1, 0]),
}


@pytest.mark.parametrize("problem", list(CASES))
def test_a_report_has_the_metrics_of_its_problem_and_survives_json(problem: Any) -> None:
    report = LabelReport(CASES[problem])
    metrics = report.metrics()
    assert tuple(metrics) and set(metrics) == set(NAMES[problem])
    again = LabelReport(Given.from_dict(json.loads(json.dumps(report.sums.as_dict()))))
    assert again.metrics() == metrics
    assert again.sums.same_sequences(report.sums)
    assert report.values() == pytest.approx({name: one.value for name, one in metrics.items()})
    assert all(one.low <= one.value <= one.high for one in metrics.values())
    assert metrics["loss"].value == pytest.approx(np.linspace(0.1, 1.0, 4).sum() / 8)


def test_words_are_counted_over_all_texts() -> None:
    values = LabelReport(CASES["tokens"]).values()
    assert values["accuracy"] == pytest.approx(4 / 6)
    # class a: 2 right, 2 wanted, 4 said; class b: 2 right, 4 wanted, 2 said
    assert values["macro_f1"] == pytest.approx(2 / 3)


def test_entities_are_counted_over_all_texts() -> None:
    """Three wanted (one of two words), four said, two right: F1 4/7; without a scheme there is no such metric."""
    names = ("O", "B-P", "I-P")
    wanted, said = [[1, 2, 0], [1, 0, 1], [0, 0, 0], [0]], [[1, 2, 0], [1, 0, 0], [1, 0, 1], [0]]
    values = LabelReport(given("tokens", wanted, said, names)).values()
    assert [values[name] for name in ENTITIES] == pytest.approx([4 / 7, 2 / 4, 2 / 3])
    again = given("tokens", wanted, said, names).statistics()(np.array([0, 1, 1]))
    assert again["entity_f1"] == pytest.approx(6 / 8)  # a text that is drawn twice counts twice
    metrics = LabelReport(given("tokens", wanted, said, names)).metrics()
    assert metrics["entity_f1"].low <= 4 / 7 <= metrics["entity_f1"].high
    assert set(metrics) == set(metric_names(TaskHead("tokens", names)))
    assert not set(ENTITIES) & set(LabelReport(CASES["tokens"]).values())
    assert metric_names(TaskHead("tokens", ("a", "b"))) == NAMES["tokens"]
    nothing = LabelReport(given("tokens", [[0]] * 4, [[0]] * 4, names)).values()
    assert [nothing[name] for name in ENTITIES] == [0.0, 0.0, 0.0]


def test_a_change_is_paired_and_knows_its_direction() -> None:
    before, after = (
        given("number", [1.0, 2.0, 3.0, 4.0] * 9, [2.0, 3.0, 4.0, 5.0] * 9),
        given("number", [1.0, 2.0, 3.0, 4.0] * 9, [1.0, 2.0, 3.0, 4.0] * 9),
    )
    found = {one.metric: one for one in compare_labels("task", LabelReport(before), LabelReport(after))}
    change = found["squared_error"].change
    assert change is not None
    assert (change.value, change.low, change.high) == pytest.approx((-1.0, -1.0, -1.0))
    assert found["squared_error"].verdict == "better"
    assert found["pearson"].verdict == "same"
    assert found["loss"].change is not None
    assert found["loss"].change.value == 0.0
    assert {name for name in found if not found[name].higher_is_better} <= LOWER_IS_BETTER
    assert [one.change for one in compare_labels("task", None, LabelReport(after))] == [None] * len(found)


def test_sources_are_told_apart() -> None:
    parts = LabelReport(CASES["number"]).by_source()
    assert {source: len(part.given) for source, part in parts.items()} == {0: 2, 1: 2}
    assert parts[1].values()["squared_error"] == 0.0


def piece(first: int, *words: tuple[int, int]) -> Window:
    return Window([0] * (first + len(words) + 1), first, list(words), 0)


def test_the_best_answer_is_forward_short_enough_and_of_the_context() -> None:
    """Tokens of the question score highest and are not of the context; the best end lies before the best start."""
    window = piece(2, (0, 3), (4, 7), (8, 11), (12, 15))
    scores = np.array([[9, 9], [9, 9], [0, 5], [1, 0], [4, 0], [0, 3], [0, 0]], dtype=np.float64)
    found = best_answer([window], [scores], longest=3, unanswerable=False)
    assert (found.left, found.right) == (8, 15)
    assert found.score == pytest.approx(4 + 3 - 18)
    short = best_answer([window], [scores], longest=1, unanswerable=False)
    assert (short.left, short.right) == (0, 3)


def test_the_best_window_wins_and_no_answer_has_to_be_beaten() -> None:
    one, two = piece(1, (0, 2), (3, 5)), piece(1, (3, 5), (6, 8))
    low = np.array([[4, 4], [1, 1], [0, 0], [0, 0]], dtype=np.float64)
    high = np.array([[1, 1], [0, 0], [3, 3], [0, 0]], dtype=np.float64)
    found = best_answer([one, two], [low, high], longest=5, unanswerable=True)
    assert (found.left, found.right, found.score) == (6, 8, 4.0)
    none = best_answer([one], [low], longest=5, unanswerable=True)
    assert (none.left, none.right) == (0, 0)
    given_anyway = best_answer([one], [low], longest=5, unanswerable=False)
    assert (given_anyway.left, given_anyway.right) == (0, 2)


def test_what_is_no_number_survives_json() -> None:
    """AUROC of rows that are all of one class is not a number, and JSON has none."""
    given = Given(
        "class",
        ("a", "b"),
        np.array([0.5]),
        np.array([1.0]),
        [0],
        [0],
        {"auroc": np.array([np.nan]), "accuracy": np.array([1.0]), "confidence": np.array([0.6])},
        np.array([0]),
        np.array([7]),
    )
    again = Given.from_dict(json.loads(json.dumps(given.as_dict(), allow_nan=False)))
    assert np.isnan(again.columns["auroc"][0])
    assert again.columns["accuracy"].tolist() == [1.0]
