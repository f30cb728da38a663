"""Suites: reading, thresholds and every mistake a file can hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith.errors import UserError
from tunesmith.evaluation.suite import SuiteResult, load_suite, run_suite
from tunesmith.metrics.intervals import Estimate

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


def estimate(value: float, n: int = 1) -> Estimate:
    return Estimate(value, value - 0.1, value + 0.1, n)


def measured(path: Path, *, f1: float = 0.5, perplexity: float = 4.0) -> SuiteResult:
    def read(rows: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in rows.read_text().splitlines()]

    def answers(rows: Sequence[Mapping[str, Any]]) -> Any:
        return SimpleNamespace(scores={"f1": estimate(f1, len(rows)), "exact_match": estimate(0.25, len(rows))})

    def loss(rows: Sequence[Mapping[str, Any]]) -> Any:
        return SimpleNamespace(perplexity=estimate(perplexity, len(rows)))

    return run_suite(load_suite(path), read=read, answers=answers, loss=loss)


def test_every_task_is_measured_by_its_metric(tmp_path: Path) -> None:
    result = measured(written(tmp_path, GOOD))
    assert result.as_dict() == {
        "suite": "support",
        "metrics": {
            "capitals": estimate(0.5).as_dict(),
            "manners": estimate(0.25).as_dict(),
            "fluency": estimate(4.0, 2).as_dict(),
        },
        "passed": True,
        "failed": [],
    }


@pytest.mark.parametrize(
    ("f1", "perplexity", "failed"),
    [(0.49, 3.0, ["capitals"]), (0.9, 4.1, ["fluency"]), (0.1, 9.0, ["capitals", "fluency"])],
)
def test_thresholds_are_least_values_and_for_perplexity_most(
    tmp_path: Path, f1: float, perplexity: float, failed: list[str]
) -> None:
    result = measured(written(tmp_path, GOOD), f1=f1, perplexity=perplexity)
    assert not result.passed
    assert result.as_dict()["failed"] == failed


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("tasks: [{name: a, row: x.jsonl}]", "unknown-key", "Did you mean 'rows'"),
        ("task: []", "unknown-key", "Did you mean 'tasks'"),
        ("tasks: [{name: a, rows: [{text: x}], metric: exact-match}]", "unknown-metric", "Did you mean 'exact_match'"),
        ("tasks: [{name: a, rows: [{text: x}], threshold: high}]", "wrong-type", "tasks.0.threshold"),
        ("tasks: [{rows: [{text: x}]}]", "missing-value", "tasks.0.name is missing"),
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
