"""Wrong input of every objective, on the embedded model through the command line: one clear sentence, exit code 2, and
a run folder that is whole: none where nothing was begun, the last checkpoint where something was."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from said import Said, Tunesmith
from small_model import write_model

Rows = Sequence[dict[str, Any]]
Train = Callable[..., Said]

QUICK = (
    "model.base=embedded",
    "evaluate.before=false",
    "evaluate.prompts=2",
    "retention=none",
    "train.batch_size=4",
    "train.steps=2",
    "train.save_every=1",
)
REWARDS = """
calls = 0

def nan(sample):
    return float("nan")

def infinite(sample):
    return float("inf")

def word(sample):
    return "good"

def few(samples):
    return [1.0]

def hang(sample):
    while True:
        pass

def boom(sample):
    raise ValueError("it is not mine")

def later(sample):
    global calls
    calls += 1
    return float("nan") if calls > 40 else float(len(sample.answer) + calls)
"""


def asked(**columns: Any) -> Rows:
    """24 sums with further columns: values, or functions of a row's number."""
    return [{"prompt": f"What is {n} plus {n}?", **_filled(columns, n)} for n in range(24)]


def texts(**columns: Any) -> Rows:
    """24 texts with further columns."""
    return [{"text": f"row {n} is here", **_filled(columns, n)} for n in range(24)]


def _filled(columns: dict[str, Any], n: int) -> dict[str, Any]:
    return {name: value(n) if callable(value) else value for name, value in columns.items()}


def right(n: int) -> str:
    return f"It is {2 * n}."


ANSWERED = asked(completion=right)
PAIRS = asked(chosen=right, rejected=lambda n: f"It is {2 * n + 1}.")
SAME = asked(chosen=right, rejected=right)
MARKED = asked(completion=right, label=lambda n: n % 2 == 0)
LABELLED = texts(label=lambda n: "ab"[n % 2])
TAGGED: Rows = [{"tokens": ["Ada", "wrote", str(n)], "tags": ["O", "O", "O"]} for n in range(24)]
UNANSWERED: Rows = [
    {"question": "Who?", "context": f"Ada wrote it {n}", "answers": {"text": [], "answer_start": []}} for n in range(24)
]


@pytest.fixture
def train(call: Tunesmith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Run ``tunesmith train`` on ``rows``, without proofs unless they are asked for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(REWARDS)

    def run(rows: Rows, *words: str, proofs: bool = False, out: str = "run") -> Said:
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        Path("recipe.yaml").write_text("data: {train: [rows.jsonl]}\n")
        quiet = () if proofs else ("--no-proofs",)
        return call("train", "recipe.yaml", *QUICK, *words, *quiet, "--out", out, "--json")

    return run


def refused(said: Said, code: str, *told: str) -> None:
    """One sentence of ``code`` with all that is ``told``, and nothing of a traceback."""
    assert said.code == 2, said.err
    assert "Traceback" not in said.err
    assert said.json["error"]["code"] == code
    for word in told:
        assert word in said.err, said.err


def rewarded(name: str, **options: Any) -> tuple[str, ...]:
    rewards = json.dumps([{"name": name, **options}])
    return ("objective=grpo", f"objective.rewards={rewards}", "objective.answers=2", "objective.max_new_tokens=4")


@pytest.mark.parametrize(
    ("rows", "words", "code", "told"),
    [
        *((SAME, (f"objective={name}",), "no-rows-left", ("chosen and rejected are the same answer",))
          for name in ("dpo", "simpo", "cpo", "orpo", "reward")),
        (asked(chosen=right, rejected=lambda n: right(n) if n % 2 else "No."), ("objective=dpo",), "too-many-lost",
         ("12 of 24 rows", "the same answer")),
        (asked(responses=[{"text": "a", "score": 1}, {"text": "b", "score": 1}]), ("objective=reward",),
         "no-rows-left", ("no answer of the row has a higher score",)),
        (asked(completion=""), (), "no-rows-left", ("'completion' is empty",)),
        (asked(chosen=right, rejected=""), ("objective=dpo",), "no-rows-left", ("'rejected' is empty",)),
        (asked(completion=" ", label=lambda n: n % 2 == 0), ("objective=kto",), "no-rows-left", ("empty",)),
        (texts(label="a"), ("objective=classify",), "one-class", ("only the label 'a'", "labelled")),
        (texts(mood="a"), ("objective=multi", "objective.tasks={mood: classify}"), "one-class",
         ("task 'mood'", "only the label 'a'")),
        (TAGGED, ("objective=tokens",), "one-class", ("only the label 'O'",)),
        (asked(completion=right, label=True), ("objective=kto",), "one-class", ("all answers are wanted",)),
        (texts(label=3), ("objective=regress", "objective.standardise=true"), "one-number", ("number 3",)),
        (UNANSWERED, ("objective=span",), "no-rows-left", ("no answer in its context", "objective.unanswerable")),
        (LABELLED, ("objective=multi",), "invalid-value", ("no task is named", "{mood: classify, stars: regress}")),
        (LABELLED, ("objective=multi", "objective.tasks={}"), "invalid-value", ("no task is named",)),
        (ANSWERED, ("objective=distill",), "no-teacher", ("neither a model nor what one said",)),
        (LABELLED, ("objective=classify", "train.early_stopping.metric=validation_acuracy"), "unknown-metric",
         ("Did you mean 'validation_accuracy'",)),
    ],
)  # fmt: skip
def test_rows_that_teach_nothing(
    rows: Rows, words: Sequence[str], code: str, told: Sequence[str], train: Train, tmp_path: Path
) -> None:
    said = train(rows, *words)
    refused(said, code, *told)
    assert "0 sequences" not in said.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("objective", "rows", "wanted", "given"),
    [
        ("dpo", ANSWERED, "preference", "prompt-completion"),
        ("orpo", LABELLED, "preference", "labelled"),
        ("reward", ANSWERED, "preference", "prompt-completion"),
        ("embed", ANSWERED, "embedding", "prompt-completion"),
        ("span", ANSWERED, "squad", "prompt-completion"),
        ("tokens", LABELLED, "tagged", "labelled"),
        ("kto", PAIRS, "unpaired", "preference"),
    ],
)
def test_rows_of_another_objective_are_told_which_it_reads(
    objective: str, rows: Rows, wanted: str, given: str, train: Train
) -> None:
    refused(
        train(rows, f"objective={objective}"), "no-rows-left", f"`tunesmith formats {wanted}`", f"these are {given}"
    )


def test_rows_without_labels_are_told_the_columns(train: Train) -> None:
    refused(train(ANSWERED, "objective=classify"), "one-class", "`tunesmith formats labelled`")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("other"))


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be seen to be missing is refused before a row is read and a model is loaded."""
    from tunesmith.run import training

    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("it was begun")

    monkeypatch.setattr(training, "prepare_with", load)


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_teacher_that_cannot_teach(train: Train, other: Path, tmp_path: Path) -> None:
    words = ("objective=distill", f"objective.teacher={other}")
    refused(train(ANSWERED, *words, proofs=True), "teacher-vocabulary", "another vocabulary", "260 there", "sft")
    refused(train(ANSWERED, words[0], "objective.teacher=./nowhere", proofs=True), "model-not-found", "./nowhere")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "events.jsonl").touch()
    refused(train(ANSWERED, words[0], "objective.teacher=begun", proofs=True), "no-result", "begun")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("reward", "code", "told"),
    [
        ({"name": "nowhere.py:good"}, "no-reward-function", ["nowhere.py", "there is no file"]),
        ({"name": "mine.py:goood"}, "no-reward-function", ["goood"]),
        ({"name": "python:no_such_module.good"}, "no-reward-function", ["no_such_module"]),
        ({"name": "model", "path": "runs/nowhere"}, "not-a-run", ["runs/nowhere"]),
        ({"name": "lenght"}, "unknown-reward", ["Did you mean 'length'"]),
    ],
)
def test_a_reward_that_is_not_there(
    reward: dict[str, Any], code: str, told: Sequence[str], train: Train, tmp_path: Path
) -> None:
    refused(train(ANSWERED, *rewarded(**reward), proofs=True), code, *told)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("nothing_is_loaded")
def test_an_add_ons_rows_that_are_not_there(train: Train, tmp_path: Path) -> None:
    refused(train(ANSWERED, "addons=[{name: replay, data: [nowhere.jsonl]}]"), "missing-file", "nowhere.jsonl")
    assert not (tmp_path / "run").exists()


def test_rows_that_no_answer_can_be_scored_on(train: Train, tmp_path: Path) -> None:
    refused(train(ANSWERED, *rewarded("code"), proofs=True), "unscorable-row", "sample 1", "'tests' holds no tests")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("reward", "code", "told"),
    [
        ({"name": "mine.py:nan"}, "bad-reward", ["python:nan", "sample 1", "nan", "a finite number"]),
        ({"name": "mine.py:infinite"}, "bad-reward", ["inf"]),
        ({"name": "mine.py:word"}, "bad-reward", ["'good'"]),
        ({"name": "mine.py:few", "batch": True}, "bad-reward", ["one number for each"]),
        ({"name": "mine.py:hang", "timeout": 0.5}, "reward-failed", ["did not end within 0.5 seconds", "sample 1"]),
        ({"name": "mine.py:boom"}, "reward-failed", ["ValueError: it is not mine"]),
    ],
)
def test_a_reward_that_is_no_number(
    reward: dict[str, Any], code: str, told: Sequence[str], train: Train, call: Tunesmith, tmp_path: Path
) -> None:
    """The folder says what was run, has no result, and the mended command begins anew in it."""
    said = train(ANSWERED, *rewarded(**reward))
    assert said.code == 2
    own = said.err.rpartition("error:")[2]
    assert said.json["error"]["code"] == code
    for word in told:
        assert word in own
    assert not list((tmp_path / "run").glob("checkpoints/*"))
    again = call("chat", "run", "-m", "hi", "--json")
    assert (again.code, again.json["error"]["code"]) == (2, "no-result")
    assert train(ANSWERED, *rewarded("length", at_most=3), "train.steps=1").code == 0


def test_a_reward_that_fails_later_keeps_what_was_trained(train: Train, call: Tunesmith, tmp_path: Path) -> None:
    """Of three updates the first are saved; with the function mended the run goes on from there."""
    words = (*rewarded("mine.py:later"), "train.steps=9")
    said = train(ANSWERED, *words)
    refused(said, "bad-reward", "python:later", "no finite number")
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept
    assert all((tmp_path / "run" / "checkpoints" / name / "progress.json").is_file() for name in kept)
    mended = REWARDS.replace('float("nan") if calls > 40 else ', "")
    (tmp_path / "mine.py").write_text(mended)
    from tunesmith.rewards.calls import caller
    from tunesmith.run.rollouts import _built

    caller.cache_clear()  # another process would have loaded the mended file
    _built.cache_clear()
    said = call("train", "run", "--resume", "--no-proofs", "--json")
    assert said.code == 0, said.err
    assert f"resuming at update {int(kept[-1].removeprefix('step-')) + 1}" in said.err
    assert said.json["steps"] == 9


def test_a_stored_teacher_of_another_vocabulary(train: Train, tmp_path: Path) -> None:
    stored = [{**row, "teacher_logprobs": [[[99_999, -0.1]]] * 6} for row in asked(completion="It is so.")]
    said = train(stored, "objective=distill")
    assert said.code == 2
    assert said.json["error"]["code"] in ("teacher-vocabulary", "no-rows-left"), said.err
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_a_watched_metric_that_is_no_number_is_told(train: Train) -> None:
    """The area under a curve needs both classes among the held-out rows."""
    words = ("objective=classify", "train.early_stopping.metric=validation_auroc", "data.validation=0.04")
    said = train(LABELLED, *words)
    assert said.code == 0, said.err
    assert "validation_auroc is no number on the held-out rows" in said.err
    assert "validation_auroc was never a number" in said.json["warnings"][0]
