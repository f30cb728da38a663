"""Functions of the user: called in another process, whatever they do."""

from __future__ import annotations

from pathlib import Path

import pytest
from reward_samples import said

from tunesmith.errors import UserError
from tunesmith.rewards.build import build_rewards
from tunesmith.rewards.calls import caller

FUNCTIONS = """
import os, sys, time, re
from helper import HALF
calls = 0

def length(sample):
    print("talk")
    print(sys.stdin.read(), file=sys.stderr)
    return len(sample.answer) * HALF + sample.meta.get("bonus", 0)

def count(sample):
    global calls
    calls += 1
    return calls

def ranks(samples):
    return [float(at) for at, _ in enumerate(samples)]

def short(samples):
    return [1.0]

class Array:
    def tolist(self):
        return 0.5

def array(sample):
    return Array()

def fails(sample):
    if sample.answer == "bad":
        raise ValueError("no digits")
    return 1

def hangs(sample):
    while sample.answer == "bad":
        pass
    return 1

def hangs_in_c(sample):
    return re.match("(a+)+$", "a" * 60 + "b") if sample.answer == "bad" else 1

def leaves(sample):
    if sample.answer == "bad":
        os._exit(3)
    return 1

def exits(sample):
    sys.exit("enough")

def unpicklable(sample):
    return lambda: 1

def nan(sample):
    return float("nan") if sample.answer == "bad" else 1

text = "no function"
"""


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    (tmp_path / "helper.py").write_text("HALF = 0.5\n")
    return tmp_path / "mine.py"


def test_a_function_in_a_file_is_called_with_each_sample(functions: Path) -> None:
    rewards = build_rewards([{"name": f"python:{functions}:length", "weight": 2}, f"{functions}:array"])
    scores = rewards.score([said("ab"), said("abc", meta={"bonus": 10})])
    assert scores.parts == {"python:length": [1.0, 11.5], "python:array": [0.5, 0.5]}
    assert scores.total == [2.5, 23.5]


def test_a_function_of_a_module_is_called(functions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(functions.parent))
    caller.cache_clear()
    assert build_rewards(["python:mine.ranks"]).rewards[0].name == "python:ranks"
    batch = build_rewards([{"name": "python", "function": "mine.ranks", "batch": True}])
    assert batch.score([said()] * 3).total == [0.0, 1.0, 2.0]


def test_the_process_lives_on_between_calls(functions: Path) -> None:
    rewards = build_rewards([f"{functions}:count"])
    assert rewards.score([said(), said()]).total == [1.0, 2.0]
    assert rewards.score([said()]).total == [3.0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fails", r"failed on sample 2 \('Why\?'\): ValueError: no digits \(mine\.py, line 31\)"),
        ("hangs", r"failed on sample 2 \('Why\?'\): it did not end within 1 seconds"),
        ("hangs_in_c", r"failed on sample 2 \('Why\?'\): it did not end within 1 seconds"),
        ("leaves", r"failed on sample 2 \('Why\?'\): it ended its process \(exit code 3\)"),
        ("exits", r"failed on sample 1 .*: SystemExit: enough"),
        ("unpicklable", r"failed on sample 1 .*it returned <function.*which is no number"),
        ("nan", r"gave no finite number for sample 2 \('Why\?'\); got nan"),
    ],
)
def test_what_goes_wrong_names_function_and_sample_and_does_no_harm(functions: Path, name: str, words: str) -> None:
    rewards = build_rewards([{"name": f"{functions}:{name}", "timeout": 1}])
    with pytest.raises(UserError, match=words) as raised:
        rewards.score([said("good"), said("bad", prompt="Why?")])
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)
    if name not in ("exits", "unpicklable"):
        assert rewards.score([said("good")]).total == [1.0], "the next call finds a fresh process"


def test_a_batch_of_the_wrong_length_is_told(functions: Path) -> None:
    rewards = build_rewards([{"name": f"{functions}:short", "batch": True}])
    with pytest.raises(UserError, match=r"python:short .*each of 2 samples.*got 1 numbers"):
        rewards.score([said(), said()])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nowhere.function", "No module named 'nowhere'"),
        ("json.function", "has no attribute 'function'"),
        ("nowhere.py:function", "there is no file"),
        ("{file}:text", "text is a str, not a function"),
        ("function", "module.function or path/to/file.py:function"),
        ("json.dumps()", "module.function or path/to/file.py:function"),
    ],
)
def test_a_function_that_is_not_there_is_refused_before_training(functions: Path, function: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build_rewards([{"name": "python", "function": function.format(file=functions)}])
