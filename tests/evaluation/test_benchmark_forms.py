"""Rows of benchmarks become questions, the authors' own files are read, and what is wrong is one sentence."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from benchmark_rows import ROWS, write_rows
from test_suite_file import measures

from tunesmith.cli.main import main
from tunesmith.errors import UserError
from tunesmith.evaluation.benchmarks import TABLE
from tunesmith.evaluation.benchmarks.base import questions
from tunesmith.evaluation.suite import load_suite
from tunesmith.evaluation.suite_plan import run_suite
from tunesmith.evaluation.suites import SHIPPED, names, path_of
from tunesmith.metrics import TABLE as METRICS
from tunesmith.metrics.base import Unit
from tunesmith.metrics.instructions import trouble


def asked(name: str, rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
    form = TABLE.load(name)()
    return questions(form, rows, form.metrics[form.metric].name, told="the rows", **options)


def test_numbers_of_gsm8k_are_found_as_its_authors_and_lm_eval_find_them() -> None:
    unit = Unit([], ["6 + 12 = <<6+12=18>>18\n#### 18"])
    metrics = {name: METRICS.load(part.name)(**part.fields) for name, part in TABLE.load("gsm8k")().metrics.items()}
    strict, flexible = metrics["strict-match"], metrics["flexible-extract"]
    assert [strict.score(said, unit) for said in ("#### 18", "it is 18", "#### 6 ... #### 18")] == [1.0, 0.0, 0.0]
    assert [flexible.score(said, unit) for said in ("6 and 12 give $18.", "18 of 20", "none")] == [1.0, 0.0, 0.0]


def test_every_benchmark_has_what_its_description_needs() -> None:
    for name in TABLE:
        form = TABLE.load(name)
        assert name == form.NAME
        assert form.metric in form.metrics
        assert form.__doc__
        assert form.columns
        assert form.paper


def test_a_question_of_mmlu_shows_its_letters_and_solved_ones_before() -> None:
    first, second = ROWS["mmlu"][:2]
    (row,) = asked("mmlu", [second], shots=[first])
    assert row["prompt"] == (
        "The following are multiple choice questions (with answers) about little sums.\n\n"
        "What is 1 plus 2?\nA. 3\nB. 3\nC. a river\nD. 1\nAnswer: A\n\n"
        "What is 2 plus 5?\nA. 7\nB. 11\nC. a river\nD. 2\nAnswer:"
    )
    assert (row["choices"], row["answer"]) == (["A", "B", "C", "D"], 0)
    assert asked("mmlu", [{**second, "answer": "C"}])[0]["answer"] == 2


def test_hellaswag_loses_its_marks_and_winogrande_fills_its_gap() -> None:
    row = asked("hellaswag", ROWS["hellaswag"])[0]
    assert row["prompt"] == "Baking bread: A man stands in a kitchen.. Flour He"
    assert row["choices"][2] == "sells the house ."
    row = asked("winogrande", ROWS["winogrande"])[0]
    assert row["contexts"][1] == "The cup did not fit into the box because the box"
    assert row["continuation"] == "was too big."
    (solved,) = asked("winogrande", ROWS["winogrande"][1:2], shots=ROWS["winogrande"][:1])
    begins = "The cup did not fit into the box because the cup was too big.\n\nTom helped Ben because "
    assert solved["contexts"] == [f"{begins}Tom", f"{begins}Ben"]


def test_the_authors_files_are_read(real_data: Path) -> None:
    folder = real_data / "benchmarks"
    form = TABLE.load("mmlu")()
    rows = form.read(folder / "mmlu.zip", lambda _: [])
    assert len({row["subject"] for row in rows}) == 57
    assert len(rows) == 14042
    assert len(asked("mmlu", list(rows[:200]))) == 200
    form = TABLE.load("humaneval")()
    rows = form.read(folder / "HumanEval.jsonl.gz", lambda _: [])
    assert len(asked("humaneval", list(rows))) == 164


@pytest.mark.slow
def test_right_programs_of_humaneval_pass_and_wrong_ones_do_not(real_data: Path, tmp_path: Path) -> None:
    form = TABLE.load("humaneval")()
    rows = list(form.read(real_data / "benchmarks/HumanEval.jsonl.gz", lambda _: []))[:12]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = tmp_path / "s.yaml"
    suite.write_text("tasks: [{name: h, benchmark: humaneval, rows: rows.jsonl}]")
    right = {row["prompt"]: row["canonical_solution"] for row in rows}
    assert run_suite(load_suite(suite), measures(right)).results[0].value.value == 1.0
    wrong = {prompt: "    while True: pass\n" if at == 0 else "    return None\n" for at, prompt in enumerate(right)}
    assert run_suite(load_suite(suite), measures(wrong)).results[0].value.value == 0.0


@pytest.mark.parametrize(
    ("name", "row", "says"),
    [
        ("mmlu", {"question": "q", "answer": 0}, "no column 'choices'"),
        ("mmlu", {"question": "q", "choices": ["a", "b", "c", "d"], "answer": "E"}, "invalid literal"),
        ("mmlu", {"question": "q", "choices": ["a", "b", "c", "d"], "answer": 7}, "none of its 4"),
        ("arc", {"question": "q", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "B"}, "not in list"),
        ("winogrande", {"sentence": "no gap", "option1": "a", "option2": "b", "answer": "1"}, "no gap"),
        ("truthfulqa", {"question": "q"}, "mc2_targets"),
    ],
)
def test_rows_of_another_benchmark_are_told(name: str, row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as told:
        asked(name, [row])
    assert told.value.code == "bad-suite-row"


def test_archives_and_files_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("no")
    form = TABLE.load("mmlu")()
    with pytest.raises(UserError, match="no archive"):
        form.read(tmp_path / "x.zip", lambda _: [])
    (tmp_path / "x.csv").write_text("a,b\n")
    with pytest.raises(UserError, match="2 cells"):
        form.read(tmp_path / "x.csv", lambda _: [])
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("data/test/tiny_sums_test.csv", "1+1?,2,3,4,5,A\n")
    assert form.read(tmp_path / "y.zip", lambda _: [])[0]["subject"] == "tiny_sums"


def test_benchmarks_of_a_suite_are_asked_raw_with_their_own_numbers(tmp_path: Path) -> None:
    write_rows(tmp_path)
    (tmp_path / "s.yaml").write_text(
        "tasks:\n  - {name: h, benchmark: hellaswag, rows: hellaswag.jsonl}\n"
        "  - {name: acc, benchmark: hellaswag, rows: hellaswag.jsonl, metric: acc}\n"
        "  - {name: g, benchmark: gsm8k, rows: gsm8k.jsonl, shots: 1, examples: gsm8k.jsonl}\n"
    )
    suite = load_suite(tmp_path / "s.yaml")
    assert [task.part.name for task in suite.tasks] == ["acc_norm", "acc", "extracted"]
    first = "Question: Tom has 1 apples and gets 2. How many has he?\nAnswer: 1+2=3\n#### 3\n\n"
    says = {first + f"Question: {row['question']}\nAnswer:": row["answer"] for row in ROWS["gsm8k"]}
    result = run_suite(suite, measures(says, nll=1.0))
    assert result.results[2].value.value == 1.0
    assert result.results[0].value.n == 4


def test_shipped_suites_are_sound(capsys: pytest.CaptureFixture[str]) -> None:
    for name in names():
        suite = load_suite(path_of(name))
        assert f"tunesmith:{suite.name}" == name
        assert all(not task.bounded for task in suite.tasks), "thresholds are the user's own"
        for task in suite.tasks:
            prompts = [json.dumps(row, sort_keys=True) for row in task.rows if isinstance(row, dict)]
            assert len(set(prompts)) == len(prompts), f"{task.name} asks something twice"
            for row in task.rows if isinstance(task.rows, list) else ():
                assert [trouble(one) for one in row.get("instructions", ())] == [None] * len(
                    row.get("instructions", ())
                )
    assert load_suite(path_of("tunesmith:retention")).about == "retention"
    assert main(["suite", "list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(SHIPPED) + 1
    with pytest.raises(UserError, match="Did you mean 'tunesmith:safety'"):
        path_of("tunesmith:safty")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--suite", "safety"], "Did you mean 'tunesmith:safety'"),
        (["--suite", "tunesmith:saftey"], "Did you mean 'tunesmith:safety'"),
        (["--benchmark", "mmlu"], "NAME=FILE"),
        (["--benchmark", "mmlu=gone.jsonl"], "missing: gone.jsonl"),
        (["--benchmark", "mmlu=x", "--suite", "embedded"], "one place at a time"),
        (["--benchmark", "mmlu=x", "--shots", "2"], "--examples"),
        (["--suite", "embedded", "--vary", "typo"], "Did you mean 'typos'"),
    ],
)
def test_wrong_arguments_of_eval_are_told(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "embedded", *words]) == 2
    assert says in capsys.readouterr().err
