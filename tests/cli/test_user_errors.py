"""The mistakes users make, through the command line: one sentence, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

import errno
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from said import Said, Tunesmith
from small_model import write_model

Train = Callable[..., Said]

QUICK = ["model.dtype=float32", "train.batch_size=4", "evaluate.before=false", "evaluate.prompts=0", "retention=none"]
ROWS = [{"prompt": f"What is {n} and {n}?", "completion": f"It is {2 * n}."} for n in range(24)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def train(call: Tunesmith, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Run ``tunesmith train`` on some text as ``rows.jsonl``."""
    monkeypatch.chdir(tmp_path)

    def run(text: str | None, *words: str) -> Said:
        if text is not None:
            (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
        (tmp_path / "recipe.yaml").write_text(f"model: {{base: {model}}}\ndata: {{train: [{{path: rows.jsonl}}]}}\n")
        return call("train", "recipe.yaml", *QUICK, *words, "--no-proofs", "--out", "run", "--json")

    return run


def chats(question: str, answer: str, count: int = 24) -> str:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return jsonl([{"messages": turns} for _ in range(count)])


@pytest.mark.parametrize(
    ("text", "words", "code", "told"),
    [
        (None, [], "missing-file", ["rows.jsonl"]),
        ("", [], "empty-file", ["rows.jsonl", "empty"]),
        (jsonl(ROWS[:3]) + '{"prompt": "x", \n', [], "bad-json", ["line 4"]),
        (jsonl(ROWS), ["train.learning_rate=-1"], "out-of-range", ["train.learning_rate", "-1", "more than 0"]),
        (jsonl(ROWS), ["train.epochs=soon"], "wrong-type", ["train.epochs", "'soon'", "a number"]),
        (jsonl(ROWS), ["trian.epochs=1"], "unknown-key", ["trian", "Did you mean 'train'"]),
        (jsonl(ROWS), ["method=lroa"], "unknown-method", ["'lroa'", "Did you mean 'lora'"]),
        (jsonl(ROWS), ["method.rnak=4"], "unknown-key", ["method.rnak", "Did you mean 'rank'"]),
        (jsonl(ROWS), ["objective=stf"], "unknown-objective", ["'stf'", "Did you mean 'sft'"]),
        (jsonl(ROWS), ["train.optimizer=adamm"], "unknown-optimizer", ["'adamm'", "adam"]),
        (jsonl(ROWS), ["data.max_tokens=8"], "all-overlong", ["max_tokens", "8"]),
        (jsonl(ROWS), ["data.train.0.format=alpacca"], "unknown-format", ["Did you mean 'alpaca'"]),
        (jsonl([{"a": 1}]), [], "unknown-data-format", ["columns a", "prompt"]),
        (chats("hello", " "), [], None, ["empty"]),
        (jsonl(ROWS), ["model.base=./nowhere"], "model-not-found", ["nowhere"]),
        (jsonl(ROWS), ["gate.forgeting=1"], "invalid-value", ["gate", "Did you mean 'forgetting'"]),
        (jsonl([{"prompt": "a", "completion": None}]), [], "unknown-data-format", ["'completion' is null in 1 of 1"]),
        (jsonl(ROWS), ["name=../x"], "invalid-value", ["name: it must name one folder", "'../x'"]),
        (jsonl(ROWS), ["name=''"], "invalid-value", ["name: it must name one folder"]),
        (jsonl(ROWS), ["name=.hidden"], "invalid-value", ["no dot in front"]),
        (jsonl(ROWS), ["name=a\\b"], "invalid-value", ["name: it must name one folder"]),
    ],
)
def test_a_mistake_is_one_sentence(
    text: str | None, words: list[str], code: str | None, told: list[str], train: Train
) -> None:
    said = train(text, *words)
    assert said.code == 2, said.err
    assert "Traceback" not in said.err
    error = said.json["error"]
    assert code is None or error["code"] == code
    for word in told:
        assert word in said.err


def test_a_base_without_a_chat_template_is_refused_with_the_choices(train: Train, tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain", template=None)
    said = train(chats("hello", "hi"), f"model.base={plain}")
    assert said.code == 2
    for word in ("template", "chatml", "plain"):
        assert word in said.err


def test_chat_with_a_base_without_a_template_takes_one_by_option(call: Tunesmith, tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain", template=None)
    said = call("chat", plain, "-m", "hello", "--json")
    assert (said.code, said.json["error"]["code"]) == (2, "no-chat-template")
    assert "--template" in said.err
    said = call("chat", plain, "-m", "hello", "--template", "plain", "--json")
    assert said.code == 0, said.err
    assert said.json["message"] == "hello"
    said = call("chat", plain, "-m", "hello", "--template", "plaim")
    assert (said.code, "Did you mean 'plain'?" in said.err) == (2, True)


def test_chat_asks_as_the_rows_of_the_run_were_written(
    train: Train, call: Tunesmith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.data.chat import ChatEncoder
    from tunesmith.run import Run

    assert train(jsonl(ROWS), "train.steps=1").code == 0
    real = ChatEncoder.prompt_ids
    asked: list[str] = []

    def prompt_ids(self: ChatEncoder, *words: Any, **options: Any) -> list[int]:
        ids = real(self, *words, **options)
        asked.append(self.decode(ids, special=True))
        return ids

    monkeypatch.setattr(ChatEncoder, "prompt_ids", prompt_ids)
    said = call("chat", "run", "-m", "What is 3 and 3?")
    assert said.code == 0, said.err
    assert "without a chat template" in said.err
    Run.open("run").model.generate("What is 4 and 4?", max_new_tokens=1)
    assert asked == ["What is 3 and 3?", "What is 4 and 4?"]
    assert "without a chat template" not in call("chat", "run", "-m", "hi", "--template", "auto").err
    assert asked[2] == "<|im_start|>user\nhi<|im_end|><|im_start|>assistant\n"
    assert call("chat", "run", "-m", "hi", "--system", "Be kind.", "--json").json["error"]["code"] == "no-system-prompt"


def test_a_finished_run_that_is_resumed_says_that_nothing_is_left(
    train: Train,
) -> None:
    assert train(jsonl(ROWS), "train.steps=2").code == 0
    said = train(None, "train.steps=2", "--resume")
    assert said.code == 0, said.err
    assert "all 2 updates are done" in said.err
    assert "update 3" not in said.err


def test_a_source_can_be_its_path_alone(train: Train) -> None:
    assert train(jsonl(ROWS), "data.train=[rows.jsonl]", "train.steps=1").code == 0


def test_more_steps_for_a_finished_run_are_told_how(train: Train) -> None:
    assert train(jsonl(ROWS), "train.steps=1").code == 0
    said = train(None, "train.steps=3", "--resume")
    assert (said.code, said.json["error"]["code"]) == (2, "recipe-changed")
    assert "model.start=run" in said.err


def test_a_run_that_was_refused_leaves_no_folder(train: Train, call: Tunesmith, tmp_path: Path) -> None:
    assert train(jsonl(ROWS), "data.max_tokens=8").code == 2
    assert not (tmp_path / "run").exists()
    (tmp_path / "begun").mkdir()
    for words in (("chat", "./begum", "-m", "hi"), ("eval", "./begum", "--suite", "embedded")):
        said = call(*words, "--json")
        assert said.code == 2
        assert "Did you mean" not in said.err


def test_what_else_is_in_the_folder_of_a_refused_run_stays(train: Train, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert train(jsonl(ROWS), "data.max_tokens=8").code == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_a_run_that_was_stopped_before_its_model_was_loaded_is_no_model_folder(
    train: Train, call: Tunesmith, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.run import training

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "check_scorable", stop)
        assert train(jsonl(ROWS)).code == 130
    for words in (("chat", "run", "-m", "hi"), ("eval", "run"), ("eval", "run", "--suite", "embedded")):
        said = call(*words, "--json")
        assert (said.code, said.json["error"]["code"]) == (2, "no-result"), words
        assert "a run without a result" in said.err


def test_training_that_diverged_says_so(train: Train, call: Tunesmith) -> None:
    said = train(jsonl(ROWS), "method=full", "train.steps=12", "train.learning_rate=30", "train.clip=0")
    assert said.code == 0, said.err
    (warning,) = said.json["warnings"]
    assert "diverged" in warning
    assert "train.learning_rate (it was 30) and leave train.clip at 1.0" in warning
    assert f"warning: {warning}" in said.err


def test_eval_without_a_suite_measures_what_was_held_out(train: Train, call: Tunesmith, tmp_path: Path) -> None:
    assert train(jsonl(ROWS), "train.steps=2", "evaluate.prompts=4").code == 0
    after = json.loads((tmp_path / "run" / "eval" / "after.json").read_text())
    found = call("eval", "run", "--json").json
    assert found["metrics"] == after["task"]
    assert found["answers"]["held-out"] == after["answers"]
    said = call("eval", "embedded", "--json")
    assert (said.code, said.json["error"]["code"]) == (2, "missing-suite")


def test_a_merged_model_is_asked_as_its_run_was(train: Train, call: Tunesmith, tmp_path: Path) -> None:
    assert train(jsonl(ROWS), "train.steps=2", "train.learning_rate=0.01").code == 0
    merged = tmp_path / "merged"
    assert "without a chat template" in call("merge", "run", "--out", merged, "--json").json["asked"]
    assert json.loads((merged / "tokenizer_config.json").read_text()).get("chat_template") is None
    assert not (merged / "chat_template.jinja").exists()
    run, plain = (call("chat", name, "-m", "What is 3 and 3?") for name in ("run", merged))
    assert "without a chat template" in plain.err
    assert plain.out == run.out
    (tmp_path / "run").rename(tmp_path / "joined")
    assert train(chats("hello", "hi"), "train.steps=1").code == 0
    assert "asked" not in call("merge", "run", "--out", tmp_path / "talks", "--json").json
    said = call("chat", tmp_path / "talks", "-m", "hello")
    assert (said.code, "without a chat template" in said.err) == (0, False)


def test_a_run_trains_and_is_not_overwritten(train: Train, tmp_path: Path) -> None:
    said = train(jsonl(ROWS), "train.steps=3")
    assert said.code == 0, said.err
    assert said.json["steps"] == 3
    kept = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    again = train(jsonl(ROWS), "train.steps=3")
    assert again.code == 2
    assert again.json["error"]["code"] == "run-exists"
    assert "--resume" in again.err
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_full_disk_keeps_what_was_saved_and_the_run_can_go_on(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith import files

    real = files.sync_file

    def full(path: Path) -> None:
        if "step-000004" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path)

    monkeypatch.setattr(files, "sync_file", full)
    said = train(jsonl(ROWS), "train.steps=6", "train.save_every=2")
    assert said.code == 2, said.err
    assert said.json["error"]["code"] == "cannot-write"
    assert "No space left" in said.err
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if not path.name.startswith(".")] == [
        "step-000002"
    ]
    monkeypatch.setattr(files, "sync_file", real)
    assert train(jsonl(ROWS), "train.steps=6", "train.save_every=2", "--resume").json["steps"] == 6


def test_a_corrupt_checkpoint_is_passed_over_and_said(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(4, patch, times=1)
        assert train(jsonl(ROWS), "train.steps=8", "train.save_every=2").code == 130
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    for file in newest.iterdir():
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    said = train(None, "train.steps=8", "train.save_every=2", "--resume")
    assert said.code == 0, said.err
    assert newest.name in said.err
    assert said.json["steps"] == 8


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_saves_and_the_curve_goes_on_as_if_nothing_happened(
    times: int, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train.steps=8", "train.save_every=2")
    whole = train(jsonl(ROWS), *words)
    assert whole.code == 0, whole.err
    curve = losses(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(5, patch, times=times)
        stopped = train(jsonl(ROWS), *words)
    assert stopped.code == 130, stopped.err
    assert "Go on with: tunesmith train recipe.yaml" in stopped.err or times == 2
    assert train(None, *words, "--resume").code == 0
    assert losses(tmp_path / "run") == curve


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """Ctrl-C, ``times`` times, while update ``step`` (from 1) is computed."""
    from tunesmith.engine import loop

    real = loop.one_update

    def update(job: Any, at: int) -> Any:
        if at + 1 == step:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return real(job, at)

    monkeypatch.setattr(loop, "one_update", update)


def losses(run: Path) -> list[float]:
    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [event["loss"] for event in events if event["kind"] == "step"]
