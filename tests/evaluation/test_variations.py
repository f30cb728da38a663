"""Rows asked in other forms: made by rules, the same every time, with right answers kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_suite_file import measures

from tunesmith.errors import UserError
from tunesmith.evaluation.suite import Suite, load_suite
from tunesmith.evaluation.suite_plan import plan_suite, run_suite
from tunesmith.evaluation.suite_run import Measured, TaskResult, changes
from tunesmith.evaluation.suite_task import Task
from tunesmith.evaluation.variations import NAMES, TEMPLATE, varied
from tunesmith.metrics.intervals import Estimate

ROW = {"prompt": "What does the little gardener plant in spring?", "answer": "seeds"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (TEMPLATE, "order")])
def test_a_variation_changes_the_question_alone_and_always_alike(name: str) -> None:
    found = varied(ROW, name)  # type: ignore[arg-type]
    assert found is not None
    assert found["prompt"] != ROW["prompt"]
    assert found["answer"] == "seeds"
    assert varied(ROW, name) == found  # type: ignore[arg-type]
    bare = "".join(found["prompt"].split()).lower()
    if name in ("lower", "upper", "blanks"):
        assert bare == "".join(ROW["prompt"].split()).lower()
    if name == "typos":
        assert sorted(bare) == sorted("".join(ROW["prompt"].split()).lower())
    if name == "paraphrase":
        assert ROW["prompt"] in found["prompt"]


def test_conversations_are_varied_in_their_last_question() -> None:
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    row = {"messages": [*turns, {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me"}]}
    found = varied(row, "upper")
    assert found is not None
    assert [turn["content"] for turn in found["messages"]] == ["Hello", "Hi", "WHO?", "Me"]
    assert varied({"prompt": "?"}, "lower") is None
    assert varied({"text": "A"}, "lower") is None
    assert varied({"text": "A"}, "lower", column="text") == {"text": "a"}


def test_choices_move_with_their_answer() -> None:
    row = {"prompt": "p", "choices": ["a", "b", "c"], "answer": 2, "labels": [0, 0, 1]}
    found = varied(row, "order")
    assert found is not None
    assert found["choices"] != row["choices"]
    assert sorted(found["choices"]) == ["a", "b", "c"]
    assert found["choices"][found["answer"]] == "c"
    assert found["labels"].index(1) == found["answer"]
    assert varied(ROW, "order") is None


SUITE = """
name: s
tasks:
  - name: a
    rows: [{prompt: Alpha, answer: x}, {prompt: beta, answer: x}, {prompt: Gamma, answer: x}]
    vary: [upper, order]
    drop: 0.5
"""


def test_what_a_variation_costs_is_paired_and_may_fail_the_suite(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    suite = load_suite(tmp_path / "s.yaml")
    says = {"Alpha": "x", "beta": "x", "Gamma": "x", "ALPHA": "x", "BETA": "no", "GAMMA": "no"}
    result = run_suite(suite, measures(says))
    told = result.as_dict()
    assert told["metrics"]["a"]["value"] == 1.0
    assert told["metrics"]["a/upper"]["value"] == pytest.approx(1 / 3)
    assert told["variations"]["a/upper"]["value"] == pytest.approx(-2 / 3)
    assert told["variations"]["a/upper"]["n"] == 3
    assert told["failed"] == ["a/upper"]
    assert told["bounds"] == 1
    assert "a: 'order' changes none of its rows" in told["notes"]
    assert run_suite(suite, measures({**says, "BETA": "x"})).failed == []


def test_variations_are_added_by_name(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    suite = load_suite(tmp_path / "s.yaml")
    assert suite.varied(["typos"]).tasks[0].vary == ["upper", "order", "typos"]
    with pytest.raises(UserError, match="Did you mean 'typos'"):
        suite.varied(["typo"])


def test_what_is_asked_has_a_digest(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    model = measures({})
    content = plan_suite(load_suite(tmp_path / "s.yaml"), model).content
    assert plan_suite(load_suite(tmp_path / "s.yaml"), model).content == content
    for other in ("beta", "drop: 0.5\n    max_new_tokens: 9"):
        text = SUITE.replace("beta", "delta") if other == "beta" else SUITE.replace("drop: 0.5", other)
        (tmp_path / "t.yaml").write_text(text)
        assert plan_suite(load_suite(tmp_path / "t.yaml"), model).content != content


def test_rows_of_a_run_are_left_out_with_a_reason() -> None:
    suite = Suite.model_validate({"tasks": [{"name": "a", "rows": "run:training", "metric": "continues"}]})
    result = run_suite(suite, measures({}))
    assert result.as_dict()["metrics"] == {}
    assert result.as_dict()["notes"] == ["a: not measured, because there are no training rows"]


@pytest.mark.parametrize(
    ("metric", "as_they_are", "typos", "missed"),
    [
        ("f1", 0.9, 0.6, ["t/typos"]),
        ("f1", 0.6, 0.9, []),
        ("bits_per_byte", 1.0, 1.3, ["t/typos"]),
        ("bits_per_byte", 1.3, 1.0, []),
    ],
)
def test_what_a_variation_may_cost_counts_in_the_metric_s_direction(
    metric: str, as_they_are: float, typos: float, missed: list[str]
) -> None:
    task = Task(name="t", rows=[{"prompt": "p", "answer": "a"}], metric=metric, vary=["typos"], drop=0.1)
    one, other = (
        Measured(Estimate(value, value, value, 6), parts=np.array([[value, 1.0]] * 6)) for value in (as_they_are, typos)
    )
    assert TaskResult(task, one, variations={"typos": other}).trouble == missed


def test_only_what_was_asked_alike_is_paired() -> None:
    suite = Suite(name="s", tasks=[Task(name="t", rows=[{"prompt": "p", "answer": "a"}], metric="f1")])
    value = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 6}
    before = {"metrics": {"t": value}, "content": {"t": "one"}, "parts": {"t": [[0.5, 1.0]] * 6}}
    after = {**before, "suite": "s", "lower_is_better": [], "parts": {"t": [[0.75, 1.0]] * 6}}
    (same,) = changes(suite, before, after)
    assert same.change is not None and same.change.value == pytest.approx(0.25)
    (other,) = changes(suite, {**before, "content": {"t": "two"}}, after)
    assert (other.change, other.before) == (None, None)
