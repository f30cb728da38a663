"""Reports of several tasks: names, the common loss by hand, sources, changes paired by row, JSON and back."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from tiny_task import bert_tokenizer, tiny_task
from tunesmith.contracts.data import Record
from tunesmith.contracts.objective import TaskHead
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.store import example_of
from tunesmith.evaluation.comparison import compare_labels
from tunesmith.evaluation.labels import Given, LabelReport, metric_names
from tunesmith.evaluation.suite import Task
from tunesmith.evaluation.task import evaluate_task, score
from tunesmith.evaluation.tasks import TaskPart, TasksReport, TasksSums
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.multi import Multi


def part(rows: list[int], loss: list[float], weight: float, *, said: list[float], content: int = 7) -> TaskPart:
    units = len(rows)
    given = Given(
        "number",
        ("value",),
        np.array(loss),
        np.full(units, 2.0),
        [float(row) for row in rows],
        said,
        {},
        np.array([row % 2 for row in rows]),
        np.array(rows) + content,
    )
    return TaskPart(given, np.array(rows), weight)


def report(shift: float = 0.0, content: int = 7) -> TasksReport:
    """Rows 0 to 9 have the first task, even ones the second as well."""
    first = part(list(range(10)), [1.0 + shift] * 10, 3.0, said=[row + shift for row in range(10)], content=content)
    second = part([0, 2, 4, 6, 8], [1, 2, 3, 4, 5], 0.5, said=[0, 2, 4, 6, 9.0], content=content)
    return TasksReport(TasksSums({"stars": first, "length": second}))


def test_every_task_has_its_metrics_and_all_have_one_loss() -> None:
    """3 · 10/20 + 0.5 · 15/10 = 2.25."""
    metrics = report().metrics()
    numbers = TaskHead("number", ("value",))
    assert set(metrics) == set(metric_names(TaskHead("tasks", (), tasks={"stars": numbers, "length": numbers})))
    assert metrics["loss"].value == pytest.approx(2.25)
    assert metrics["loss"].low < 2.25 < metrics["loss"].high
    assert metrics["loss"].n == 10
    assert metrics["length/loss"].value == pytest.approx(1.5)
    assert metrics["length/squared_error"].value == pytest.approx(1 / 5)
    assert report().values() == pytest.approx({name: one.value for name, one in metrics.items()})


def test_the_interval_of_the_common_loss_redraws_rows() -> None:
    """The first task's loss is the same in every row: the spread is half that of the second's mean, and no more."""
    metrics = report().metrics()
    alone = LabelReport(report().sums.tasks["length"].given).metrics()["loss"]
    assert metrics["loss"].high - metrics["loss"].low == pytest.approx((alone.high - alone.low) / 2, rel=0.3)


def test_it_survives_json() -> None:
    again = TasksReport(TasksSums.from_dict(json.loads(json.dumps(report().sums.as_dict()))))
    assert again.metrics() == report().metrics()
    assert again.sums.same_sequences(report().sums)
    assert not again.sums.same_sequences(report(content=8).sums)
    assert not again.sums.same_sequences(TasksSums({"stars": report().sums.tasks["stars"]}))


def test_sources_have_the_tasks_of_their_rows() -> None:
    by_source: Any = report().by_source()
    assert set(by_source[0].sums.tasks) == {"stars", "length"}
    assert set(by_source[1].sums.tasks) == {"stars"}
    assert by_source[1].values()["loss"] == pytest.approx(3 * 5 / 10)
    assert by_source[0].metrics()["loss"].n == 5


def test_a_change_is_paired_and_knows_its_direction() -> None:
    found = {one.metric: one for one in compare_labels("task", report(1.0), report())}
    change = found["loss"].change
    assert change is not None
    assert (change.value, change.low, change.high) == pytest.approx((-1.5, -1.5, -1.5))
    assert found["loss"].verdict == found["stars/squared_error"].verdict == "better"
    assert found["length/loss"].verdict == "same"
    assert found["stars/pearson"].higher_is_better
    assert all(one.change is None for one in compare_labels("task", report(content=8), report()))


def test_thresholds_of_suites_know_the_direction() -> None:
    assert Task(name="a", rows=[], metric="stars/squared_error", threshold=0.5).passes(0.4)
    assert not Task(name="a", rows=[], metric="stars/pearson", threshold=0.5).passes(0.4)


def test_every_task_is_measured_on_its_own_outputs_and_rows() -> None:
    """The report's losses and accuracy from the scores alone: row 0 has both, row 1 the mood, row 2 the stars."""
    tasks = {
        "mood": {"kind": "classify", "labels": ["bad", "good"], "multi_label": False, "weight": 3.0},
        "stars": {"kind": "regress", "standardise": {"mean": 3.0, "deviation": 2.0}},
    }
    objective = Multi(tasks=tasks)
    encoder = ChatEncoder.build(bert_tokenizer())
    known: list[dict[str, Any]] = [{"mood": "good", "stars": 4}, {"mood": "bad"}, {"stars": 1}]
    texts = zip(("the red cat", "the dog", "very blue and green"), known, strict=True)
    encodings = [objective.encode(Record(text=text, meta=meta), encoder)[0] for text, meta in texts]
    examples = [example_of(one, at) for at, one in enumerate(encodings)]
    policy = CausalPolicy(tiny_task("bert", objective.head()))
    found = evaluate_task(policy, objective, examples, tokens_per_microbatch=12).values()
    z = np.concatenate([one.scores for one in score(policy, objective, examples, tokens_per_microbatch=99)])
    moods = [math.log(np.exp(z[row, :2]).sum()) - z[row, own] for row, own in ((0, 1), (1, 0))]
    assert found["mood/loss"] == pytest.approx(np.mean(moods), rel=1e-5)
    assert found["mood/accuracy"] == np.mean([z[0, 1] > z[0, 0], z[1, 0] > z[1, 1]])
    assert found["stars/loss"] == pytest.approx(np.mean([(z[0, 2] - 0.5) ** 2, (z[2, 2] + 1.0) ** 2]), rel=1e-5)
    errors = [(3 + 2 * z[0, 2] - 4) ** 2, (3 + 2 * z[2, 2] - 1) ** 2]
    assert found["stars/squared_error"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert found["loss"] == pytest.approx(3 * found["mood/loss"] + found["stars/loss"])
