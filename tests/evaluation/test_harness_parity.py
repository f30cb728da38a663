"""Benchmarks from files give, row by row, what EleutherAI's harness gives on the same files and model.

The harness runs its own task configs, of which only the place of the rows is changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_rows import CONFIGS, NUMBERS, local_tasks, solved_rows, write_rows

from tunesmith.evaluation.suite_plan import plan_suite
from tunesmith.run.asking import Asked
from tunesmith.run.suites import benchmark_suite
from tunesmith.run.use import open_any

pytest.importorskip("lm_eval", reason="needs tunesmith[lm-eval]")


def harness_samples(session: Any, folder: Path, rows: dict[str, Path], *, shots: int) -> dict[str, list[Any]]:
    """What the harness logs for every row of every task."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    local_tasks(folder, rows, Path(lm_eval.__file__).parent, shots=shots)
    session.policy.drive("padded")  # the harness calls the transformers model itself
    lm = HFLM(pretrained=session.model, tokenizer=session.tokenizer, batch_size=4, max_length=512)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    names = [f"local_{name}" for name in CONFIGS]
    found = lm_eval.simple_evaluate(model=lm, tasks=names, task_manager=manager, log_samples=True, bootstrap_iters=0)
    session.policy.drive("flat")
    return dict(found["samples"])


def ours(session: Any, rows: dict[str, Path], *, shots: int) -> dict[str, Any]:
    """Per-row numbers of every task, by its name here."""
    found = {}
    for name, path in rows.items():
        solved = 0 if name == "truthfulqa" else shots
        suite = benchmark_suite([(name, str(path))], shots=solved, examples=str(solved_rows(path)))
        for result in plan_suite(suite, Asked(session).measures)().results:
            assert result.measured.parts is not None
            found[result.task.name] = result.measured.parts[:, 0]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("base", "shots"), [("embedded", 0), ("embedded", 2), ("models/stories260k-hf", 1)])
def test_every_row_is_scored_as_the_harness_scores_it(
    base: str, shots: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = base if base == "embedded" else str(request.getfixturevalue("real_data") / base)
    session = open_any(name, dtype="float32")
    rows = write_rows(tmp_path / "rows")
    samples = harness_samples(session, tmp_path / "tasks", rows, shots=shots)
    mine = ours(session, rows, shots=shots)
    compared = 0
    for task in CONFIGS:
        logged = samples[f"local_{task}"]
        own, number = NUMBERS.get(task, (task, ""))
        labels = [f"{own}/{number}", own] if number else [label for label in mine if label.partition("/")[0] == own]
        for label in (next(one for one in labels if one in mine),) if number else labels:
            metric = _metric(label, own, logged[0])
            wanted = [row[metric] for row in _filtered(logged, label)]
            got = mine[label]
            np.testing.assert_allclose(got, wanted, atol=1e-5, err_msg=f"{task} {label}")
            compared += len(wanted)
    assert compared > 40


def _metric(label: str, own: str, logged: dict[str, Any]) -> str:
    """The harness's name of a number."""
    number = label.partition("/")[2]
    if own == "gsm8k":
        return "exact_match"
    if own == "truthfulqa":
        return "acc"
    return number or ("acc_norm" if "acc_norm" in logged else "acc")


def _filtered(logged: list[Any], label: str) -> list[Any]:
    """The rows of one of the harness's filters, in their order."""
    wanted = "flexible-extract" if label.endswith("flexible-extract") else "strict-match"
    rows = [row for row in logged if row["filter"] in ("none", wanted)]
    return sorted(rows, key=lambda row: row["doc_id"])
