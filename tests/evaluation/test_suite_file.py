"""Suites: reading, thresholds and every mistake a file can hold."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunesmith.contracts.data import Prompt
from tunesmith.errors import UserError
from tunesmith.evaluation.answers import AnswerReport, AnswerRow
from tunesmith.evaluation.checks import Check, add_check
from tunesmith.evaluation.suite import load_suite
from tunesmith.evaluation.suite_plan import Asking, Measures, Question, Way, run_suite
from tunesmith.evaluation.suite_run import SuiteResult
from tunesmith.metrics.likelihood import Continuation, Likelihood
from tunesmith.metrics.perplexity import Losses
from tunesmith.recipe.load import validated

GOOD = """
name: support
tasks:
  - {name: capitals, rows: sub/capitals.jsonl, metric: f1, threshold: 0.5}
  - name: manners
    rows: [{prompt: Hi, answer: Hello}]
  - {name: fluency, rows: [{text: Once}, {text: Twice}], metric: perplexity, threshold: 4}
"""


def written(folder: Path, text: str) -> Path:
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub/capitals.jsonl").write_text('{"prompt": "France?", "answer": "Paris"}\n')
    path = folder / "suite.yaml"
    path.write_text(text)
    return path


def measures(says: Mapping[str, str | list[str]], *, nll: float = 0.0) -> Measures:
    """A model that ``says`` something to each prompt (its answers in turn where several are asked for)."""

    def read(rows: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in rows.read_text().splitlines()]

    def questions(rows: Sequence[Mapping[str, Any]], column: str, way: Way) -> list[Question]:
        found = []
        for row in rows:
            references = row.get(column) or ([row["answer"]] if "answer" in row else [])
            found.append(Question(Prompt([1], "", row["prompt"], dict(row)), references))
        return found

    def answers(asked: Sequence[Question], asking: Asking) -> AnswerReport:
        rows = []
        for question in asked:
            said = says.get(question.prompt.text, "")
            several = [said] * asking.samples if isinstance(said, str) else said[: asking.samples]
            scores = {"exact_match": 0.0}
            rows += [AnswerRow(question.prompt.text, "", text, True, scores) for text in several]
        return AnswerReport.of(rows)

    def losses(rows: Sequence[Mapping[str, Any]]) -> Losses:
        ones = np.ones(len(rows))
        return Losses(nll * ones, ones, 4 * ones)

    def likelihoods(asked: Sequence[Continuation], way: Way) -> list[Likelihood]:
        return [Likelihood(-nll * len(one.text), len(one.text), greedy=False) for one in asked]

    return Measures(read, questions, answers, losses, likelihoods, lambda which: f"there are no {which} rows")


def measured(path: Path, says: Mapping[str, str | list[str]] | None = None, *, nll: float = 0.0) -> SuiteResult:
    return run_suite(load_suite(path), measures(says or {}, nll=nll))


def test_every_task_is_measured_by_its_metric(tmp_path: Path) -> None:
    result = measured(written(tmp_path, GOOD), {"France?": "Paris, France", "Hi": "hello!"}, nll=math.log(3))
    values = {name: metric["value"] for name, metric in result.as_dict()["metrics"].items()}
    assert values == pytest.approx({"capitals": 2 / 3, "manners": 1.0, "fluency": 3.0})
    assert result.passed
    assert result.as_dict()["bounds"] == 2
    assert result.as_dict()["lower_is_better"] == ["fluency"]
    assert result.results[0].answers[0].scores == {"exact_match": 0.0, "f1": pytest.approx(2 / 3)}


@pytest.mark.parametrize(
    ("capital", "perplexity", "failed"),
    [
        ("Paris or so it seems", 3.0, ["capitals"]),
        ("Paris", 4.1, ["fluency"]),
        ("", 9.0, ["capitals", "fluency"]),
        ("Paris", 4.0 - 1e-9, []),
    ],
)
def test_thresholds_are_least_values_and_for_perplexity_most(
    tmp_path: Path, capital: str, perplexity: float, failed: list[str]
) -> None:
    result = measured(written(tmp_path, GOOD), {"France?": capital}, nll=math.log(perplexity))
    assert result.failed == failed
    assert result.passed is not bool(failed)


def test_bounds_may_be_set_on_both_sides(tmp_path: Path) -> None:
    text = "tasks: [{name: a, rows: [{prompt: x}], metric: length, at_least: 2, at_most: 3}]"
    for answer, passed in (("one", False), ("one two", True), ("a b c", True), ("a b c d", False)):
        assert measured(written(tmp_path, text), {"x": answer}).passed is passed


def test_metrics_take_options_and_several_references(tmp_path: Path) -> None:
    text = """
tasks:
  - {name: few, rows: [{prompt: x}], metric: {name: length, unit: characters}}
  - {name: best, rows: [{prompt: x, answer: no, right: [nothing, one two!]}], references: right}
"""
    metrics = measured(written(tmp_path, text), {"x": "one two"}).as_dict()["metrics"]
    assert (metrics["few"]["value"], metrics["best"]["value"]) == (7.0, 1.0)


def test_programs_are_run_and_one_that_never_ends_has_not_passed(tmp_path: Path) -> None:
    text = """
tasks:
  - name: double
    rows: [{prompt: x, tests: "assert f(2) == 4"}]
    metric: {name: pass_at_k, k: 2, timeout: 1}
    samples: 4
    temperature: 0.8
"""
    good, endless = "def f(x):\n    return 2 * x", "while True: pass"
    result = measured(written(tmp_path, text), {"x": [good, endless, "f = 1", "("]})
    assert result.results[0].value.value == pytest.approx(1 - 3 / 6), "3 of the 6 pairs hold none that passes"


def test_a_model_that_says_nothing_gets_its_scores_and_a_word(tmp_path: Path) -> None:
    text = """
tasks:
  - {name: right, rows: [{prompt: x, answer: y}, {prompt: z, answer: y}]}
  - {name: loops, rows: [{prompt: x}], metric: repetition, threshold: 0.5}
"""
    result = measured(written(tmp_path, text), {"z": "y"})
    assert result.results[0].value.value == 0.5
    told = result.as_dict()
    assert told["notes"][0] == "right: 1 of 2 answers are empty"
    assert "loops: the metric repetition found nothing to measure" in told["notes"][1]
    assert told["metrics"]["loops"]["value"] is None
    assert told["failed"] == ["loops"]


def test_rows_that_can_never_be_measured_are_told_before_anything_is_answered(tmp_path: Path) -> None:
    text = (
        "tasks: [{name: a, rows: [{prompt: x, answer: y}]}, {name: b, rows: [{prompt: x, answer: y}], metric: numeric}]"
    )

    def never(asked: Sequence[Question], asking: Asking) -> AnswerReport:
        raise AssertionError("nothing may be answered")

    model = measures({})
    with pytest.raises(UserError, match="has no number: 'y'") as told:
        run_suite(load_suite(written(tmp_path, text)), replace(model, answers=never))
    assert told.value.code == "unmeasurable-row"


def test_a_missing_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(UserError, match=r"needs sacrebleu.*tunesmith\[eval\]") as told:
        load_suite(written(tmp_path, "tasks: [{name: a, rows: [{prompt: x, answer: y}], metric: bleu}]"))
    assert told.value.code == "missing-extra"


def test_tags_choose_tasks_and_checks(tmp_path: Path) -> None:
    text = """
tasks:
  - {name: a, rows: [{prompt: x}], metric: length, tags: [quick, en]}
  - {name: b, rows: [{prompt: x}], metric: length}
checks: [{prompt: x, contains: y, tags: [quick]}, {prompt: z, contains: y, tags: [slow]}]
"""
    suite = load_suite(written(tmp_path, text))
    chosen = suite.tagged(["quick"])
    assert ([task.name for task in chosen.tasks], [check.prompt for check in chosen.checks]) == (["a"], ["x"])
    assert suite.tagged([]) == suite
    with pytest.raises(UserError, match="Did you mean 'quick'"):
        suite.tagged(["quik"])


@pytest.mark.parametrize(
    ("how", "fine", "wrong"),
    [
        ({"exact": "Paris."}, " Paris.\n", "paris."),
        ({"contains": "paris"}, "It is PARIS", "It is Rome"),
        ({"not_contains": "rome"}, "It is Paris", "ROME"),
        ({"regex": "^[0-9]+$"}, "42", "42 or so"),
        ({"contains": "a", "not_contains": "b"}, "a", "ab"),
    ],
)
def test_a_check_says_what_is_wrong(how: dict[str, str], fine: str, wrong: str) -> None:
    check = Check(prompt="?", **how)  # type: ignore[arg-type]
    assert check.trouble(fine) is None
    assert check.trouble(wrong)


def test_checks_are_pass_or_fail_with_the_share_of_them(tmp_path: Path) -> None:
    text = "checks: [{prompt: a, contains: x}, {prompt: b, contains: x, name: second}, {prompt: c, regex: '^y'}]"
    told = measured(written(tmp_path, text), {"a": "x!", "b": "z", "c": "yes"}).as_dict()
    assert told["failed"] == ["second"]
    assert told["metrics"]["checks"]["value"] == pytest.approx(2 / 3)
    assert told["checks"][1] == {
        "name": "second",
        "prompt": "b",
        "answer": "z",
        "passed": False,
        "why": "it does not contain 'x'",
    }


def test_a_regression_suite_grows_and_keeps_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "regression.yaml"
    assert add_check(path, Check(prompt="a", contains="x")) == 1
    path.write_text("# ours\n" + path.read_text())
    assert add_check(path, Check(prompt="法国的首都是？", exact="巴黎", tags=["zh"])) == 2
    assert path.read_text().startswith("# ours\n")
    assert [check.prompt for check in load_suite(path).checks] == ["a", "法国的首都是？"]
    assert load_suite(path).name == "regression"
    with pytest.raises(UserError) as told:
        add_check(path, Check(prompt="a", contains="x"))
    assert told.value.code == "duplicate-check"
    path.write_text("checks: {}\n")
    with pytest.raises(UserError) as told:
        add_check(path, Check(prompt="a", contains="x"))
    assert told.value.code == "not-a-suite"


def test_a_check_that_says_nothing_or_no_expression_is_told() -> None:
    for values, says in (({"prompt": "x"}, "needs one of"), ({"prompt": "x", "regex": "("}, "no regular expression")):
        with pytest.raises(UserError, match=says):
            validated(Check, values)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("tasks: [{name: a, rows: [{prompt: x}], metric: {name: distinct, m: 2}}]", "unknown-key", "metric.m"),
        (
            "tasks: [{name: a, rows: [{prompt: x}], metric: {name: pass_at_k, k: 3}}]",
            "bad-samples",
            "samples: 3 or more",
        ),
        ("tasks: [{name: a, rows: [{prompt: x}], metric: length, samples: 2}]", "bad-samples", "temperature 0"),
        ("checks: [{prompt: a, contain: x}]", "unknown-key", "Did you mean 'contains'"),
        ("tasks: [{name: a, row: x.jsonl}]", "unknown-key", "Did you mean 'rows'"),
        ("task: []", "unknown-key", "Did you mean 'tasks'"),
        ("tasks: [{name: a, rows: [{text: x}], metric: exact-match}]", "unknown-metric", "Did you mean 'exact_match'"),
        (
            "tasks: [{name: a, rows: [{text: x}], threshold: high}]",
            "wrong-type",
            "threshold has the wrong type, in the task 'a'",
        ),
        ("tasks: [{rows: [{text: x}]}]", "missing-value", "name is missing, in tasks 1"),
        ("tasks: []", "empty-suite", "has no task"),
        ("", "empty-suite", "has no task"),
        ("- a", "not-a-suite", "got a list"),
        ("tasks: [", "bad-yaml", "line 1"),
        ("tasks: [{name: a, rows: gone.jsonl}]", "missing-rows", "gone.jsonl"),
        ("tasks: [{name: a, rows: [{text: x}]}, {name: a, rows: [{text: x}]}]", "duplicate-task", "named 'a'"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, code: str, says: str) -> None:
    with pytest.raises(UserError) as told:
        load_suite(written(tmp_path, text))
    assert told.value.code == code
    assert says in str(told.value)


def test_a_missing_suite_and_a_task_without_rows_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        load_suite(tmp_path / "none.yaml")
    assert told.value.code == "missing-suite"
    with pytest.raises(UserError) as told:
        measured(written(tmp_path, "tasks: [{name: a, rows: []}]"))
    assert told.value.code == "empty-suite"
