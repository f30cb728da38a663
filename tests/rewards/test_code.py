"""The code reward: the program in an answer, its tests, and real problems with their real tests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from reward_samples import said

from tunesmith.errors import UserError
from tunesmith.rewards.build import build_rewards
from tunesmith.rewards.code import Code, program_in

GOOD = "def f(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("x = 1", "x = 1"),
        ("Here:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```py\nx = 1\n```\nbetter:\n```\nx = 2\n```", "x = 2\n"),
        ("```python\nx = 1\n```\nrun it:\n```bash\npython x.py\n```", "x = 1\n"),
        ("```python\nx = 1", "x = 1"),
        ("  ```Python3\n  x = 1\n  ```", "  x = 1\n"),
        ("```bash\nls\n```", ""),
        ("```python\n```", ""),
        ("", ""),
    ],
)
def test_the_program_is_the_last_python_block(answer: str, program: str) -> None:
    assert program_in(answer) == program


def test_scores_and_reasons() -> None:
    rewards = build_rewards([{"name": "code", "weight": 2, "timeout": 2}])
    tests = ["assert f(1) == 2", "assert f(2) == 3"]
    answers = [
        f"So:\n```python\n{GOOD}```",
        "def f(x):\n    return 2",
        "while True: pass",
        "import socket; socket.socket()",
        "",
    ]
    scores = rewards.score([said(answer, meta={"tests": tests}) for answer in answers])
    assert scores.total == [2.0, 0.0, 0.0, 0.0, 0.0]
    assert scores.notes["code"][:4] == [
        "",
        "AssertionError at line 2 of the tests: assert f(2) == 3",
        "it did not end within 2 seconds",
        "it tried to use the network",
    ]
    assert scores.notes["code"][4].startswith("NameError")


def test_prompt_and_entry_point() -> None:
    reward = Code(with_prompt=True, entry_point="name", tests="test")
    row = {"test": "def check(candidate):\n    assert candidate(1) == 2", "name": "f"}
    samples = [said(f"    return x + {n}\n", prompt="def f(x):\n", meta=row) for n in (1, 2)]
    assert reward.score(samples) == [1.0, 0.0]


@pytest.mark.parametrize(
    "meta", [{}, {"tests": ""}, {"tests": []}, {"tests": [1]}, {"tests": {"a": 1}}, {"tests": " "}]
)
def test_rows_without_tests_are_refused(meta: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"code cannot score sample 1 .*'tests' holds no tests"):
        build_rewards(["code"]).require_rows([said("", meta=meta)])


def test_rows_whose_function_has_no_name_are_refused() -> None:
    with pytest.raises(UserError, match="'name' names no function"):
        Code(entry_point="name").score([said("", meta={"tests": "x", "name": "f()"})])


@pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_humaneval_solutions_pass_and_broken_ones_do_not(real_data: Path, step: int) -> None:
    """Every ``step``-th of the 164 problems: the authors' solution, and one that returns nothing."""
    with gzip.open(real_data / "benchmarks" / "HumanEval.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file][::step]
    reward = Code(with_prompt=True, tests="test", entry_point="entry_point", timeout=20.0)
    right = [said(row["canonical_solution"], prompt=row["prompt"], meta=row) for row in rows]
    broken = [said("    return None\n", prompt=row["prompt"], meta=row) for row in rows]
    assert reward.score(right) == [1.0] * len(rows)
    assert reward.score(broken) == [0.0] * len(rows)
