"""Each command passes its arguments to one library call and prints the answer: words for people, JSON for programs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from said import Tunesmith

from tunesmith.errors import Interrupted
from tunesmith.proof.base import Outcome
from tunesmith.recipe import Recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: mine\ntrain: {epochs: 2}\n")
    return path


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.25, "high": value + 0.25, "n": 10}


def finished(summary: dict[str, Any]) -> Any:
    """What stands for a run whose diagnosis found nothing."""
    return SimpleNamespace(summary=lambda: summary, last_stage=SimpleNamespace(read=lambda _: {}))


def test_train_passes_everything_on(call: Tunesmith, library: ModuleType, recipe: Path, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def train(given: Recipe, **options: Any) -> Any:
        seen.update(options, recipe=given)
        return finished({"run": "runs/mine", "steps": 4, "train_loss": float("nan")})

    library.train = train
    said = call("train", recipe, "train.steps=4", "--out", tmp_path / "o", "--resume", "--no-proofs", "--json")
    assert said.code == 0
    assert said.json == {"run": "runs/mine", "steps": 4, "train_loss": None}
    assert seen["recipe"].train.steps == 4
    assert seen["recipe"].train.epochs == 2
    assert (seen["out"], seen["resume"], seen["switch_proofs_off"]) == (tmp_path / "o", True, True)
    words = call("train", recipe)
    assert "runs/mine" in words.out
    assert "tunesmith chat runs/mine" in words.err
    assert (seen["out"], seen["resume"], seen["switch_proofs_off"]) == (None, False, False)


def test_train_shows_what_changed_and_every_source(call: Tunesmith, library: ModuleType, recipe: Path) -> None:
    nll = {
        "before": estimate(3.0),
        "after": estimate(2.0),
        "change": {"value": -1.0, "low": -1.25, "high": -0.75},
        "verdict": "better",
    }
    exact = {"before": None, "after": estimate(0.0), "change": None, "verdict": None}
    few = nll | {"change": {"value": -4.105, "low": None, "high": None, "n": 1}, "verdict": "unknown"}
    sources = {"a_1.jsonl": {"nll": estimate(1.75)}, "b.jsonl": {"accuracy": estimate(2.5)}}
    summary = {
        "run": "runs/mine",
        "changes": {"task": {"nll": nll, "few": few}, "[own]": {"f1": exact}},
        "by_source": sources,
    }
    library.train = lambda *_, **__: finished(summary)
    lines = [line.split() for line in call("train", recipe).out.splitlines()]
    assert ["task", "nll", "3", "2", "-1", "[-1.25,", "-0.75]", "better"] in lines
    assert ["few", "3", "2", "-4.105", "(n=1,", "no", "interval)", "unknown:", "too", "few", "rows", "(1)"] in lines
    assert ["[own]", "f1", "-", "0", "-"] in lines
    assert ["a_1.jsonl", "1.75", "[1.5,", "2]", "-"] in lines
    assert ["b.jsonl", "-", "2.5", "[2.25,", "2.75]"] in lines
    assert call("train", recipe, "--json").json["by_source"] == sources


@pytest.mark.parametrize("command", ["train", "demo"])
@pytest.mark.parametrize("begun", [True, False])
def test_an_interrupt_names_the_command_that_goes_on(
    command: str, begun: bool, call: Tunesmith, library: ModuleType, recipe: Path
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise Interrupted("Stopped during the proofs.", folder="runs/my run", begun=begun)

    library.train = library.demo = stop
    said = call(*([command, recipe, "train.steps=4", "--no-proofs"] if command == "train" else [command]))
    assert said.code == 130
    again = {
        ("train", True): f"train {recipe} train.steps=4 --no-proofs --out 'runs/my run' --resume",
        ("train", False): f"train {recipe} train.steps=4 --no-proofs --out 'runs/my run'",
        ("demo", True): "train 'runs/my run' --out 'runs/my run' --resume",
        ("demo", False): "demo --out 'runs/my run'",
    }[command, begun]
    assert said.err.strip() == f"Stopped during the proofs. Go on with: tunesmith {again}"
    answered = call(command, *([recipe] if command == "train" else []), "--json")
    assert answered.json == {"run": "runs/my run", "finished": False, "stopped": "Stopped during the proofs."}


@pytest.mark.parametrize("passed", [True, False])
def test_check_fails_with_the_exit_code_of_a_failed_proof(
    passed: bool, call: Tunesmith, library: ModuleType, recipe: Path
) -> None:
    proofs = [
        Outcome("packed = padded", True, 1e-7, 1e-5, "linear algebra"),
        Outcome("mask [1]", passed, 0.0, None, "w"),
        Outcome("slow", None, None, None, "not proven within 60 s"),
    ]
    library.check = lambda _: proofs
    said = call("check", recipe)
    assert said.code == (0 if passed else 1)
    assert "mask [1]" in said.out
    assert ("FAILED" in said.out) is not passed
    assert [line.split()[:2] for line in said.out.splitlines() if "60 s" in line] == [["skipped", "slow"]]
    answered = call("check", recipe, "--json")
    assert answered.code == said.code
    assert answered.json["proofs"][0] == {
        "name": "packed = padded",
        "passed": True,
        "measured": 1e-7,
        "bound": 1e-5,
        "why": "linear algebra",
        "seconds": 0.0,
        "cached": False,
    }
    assert answered.json["proofs"][2].items() >= {"passed": None, "skipped": "not proven within 60 s"}.items()


def test_predict_shows_the_text_of_a_row_and_not_its_label(
    call: Tunesmith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.run import predict

    (tmp_path / "x.dev").write_text("POSITIVE a fine film\nNEGATIVE a long one\n")
    monkeypatch.setattr(predict, "predict", lambda _, asked: [{"label": "a", "probability": 0.75}] * len(asked))
    said = call("predict", "run", "--file", tmp_path / "x.dev")
    assert [line.split() for line in said.out.splitlines()[1:]] == [
        ["a", "75%", "a", "fine", "film"],
        ["a", "75%", "a", "long", "one"],
    ]
    assert call("predict", "run", "why?", "--pair", "because").out.splitlines()[1].endswith("why? | because")


def test_a_single_row_has_no_interval(call: Tunesmith, library: ModuleType) -> None:
    metric = {"value": 0.5, "low": None, "high": None, "n": 1}
    library.evaluate = lambda *_, suite, **__: {"metrics": {f"nll on {suite}": metric}}
    assert call("eval", "runs/a").out.splitlines()[1].split() == [
        "nll",
        "on",
        "None",
        "0.5",
        "none:",
        "one",
        "row",
        "1",
    ]


def test_eval_prints_value_and_interval(
    call: Tunesmith, library: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = {"value": 0.5, "low": 0.4, "high": 0.625, "n": 1000}
    (tmp_path / "s.yaml").touch()
    monkeypatch.chdir(tmp_path)
    library.evaluate = lambda target, *, suite, **__: {"metrics": {f"{target}/{suite}": metric}}
    said = call("eval", "runs/a", "--suite", "s.yaml")
    for word in ("runs/a/s.yaml", "0.5", "0.4 to 0.625", "1,000"):
        assert word in said.out
    answered = call("eval", "runs/a", "--suite", "embedded", "--json").json
    assert answered == {"metrics": {"runs/a/embedded": metric}}


def test_eval_fails_where_a_task_misses_its_threshold(call: Tunesmith, library: ModuleType) -> None:
    metric = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
    library.evaluate = lambda *_, **__: {"metrics": {"facts": metric}, "failed": ["facts"]}
    assert call("eval", "runs/a", "--suite", "embedded", "--json").code == 1
    said = call("eval", "runs/a", "--suite", "embedded")
    assert said.code == 1
    assert "Thresholds missed: facts." in said.err


def test_compare_shows_the_values_and_the_paired_difference(call: Tunesmith, library: ModuleType) -> None:
    answer = {
        "first": "a",
        "same_rows": True,
        "runs": {
            "a": {"task nll": estimate(2.0), "task perplexity": estimate(7.5)},
            "b": {"task nll": estimate(1.5), "task perplexity": estimate(4.5)},
        },
        "differences": {"b": {"task nll": {"value": -0.5, "low": -0.75, "high": None}}},
        "score": "task nll",
        "trade": {
            name: {"score": score, "forgetting": None, "memory": 1 << 20, "speed": 10.0, "pareto": name == "b"}
            for name, score in (("a", 2.0), ("b", 1.5))
        },
    }
    library.compare = lambda _, **__: answer
    said = call("compare", "a", "b")
    lines = [line.split() for line in said.out.splitlines()]
    assert ["task", "nll", "a", "2", "[1.75,", "2.25]"] in lines
    assert ["b", "1.5", "[1.25,", "1.75]", "-0.5"] in lines
    assert ["*", "b", "1.5", "-", "1", "10"] in lines, "no other run beats it"
    assert ["a", "2", "-", "1", "10"] in lines
    assert ["b", "4.5", "[4.25,", "4.75]"] in lines, "perplexity has no difference of its own"
    assert "difference to a" in said.out
    assert "not the same rows" not in said.out
    assert call("compare", "a", "b", "--json").json == answer


def test_compare_says_that_other_rows_have_no_paired_difference(call: Tunesmith, library: ModuleType) -> None:
    library.compare = lambda _, **__: {
        "trade": {},
        "score": None,
        "first": "a",
        "same_rows": False,
        "runs": {
            "a": {"task nll": estimate(2.0)},
            "b": {"task nll": estimate(1.5), "retention nll": estimate(3.0)},
        },
        "differences": {"b": {"task nll": None, "retention nll": None}},
    }
    lines = call("compare", "a", "b").out.splitlines()
    (told,) = [line for line in lines if "1.5 [1.25, 1.75]" in line]
    assert told.endswith("not the same rows: no paired difference")
    (alone,) = [line for line in lines if "3 [2.75, 3.25]" in line]
    assert alone.endswith("the first was not measured")


def test_chat_talks_until_an_empty_line(call: Tunesmith, library: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        raw = False

        def __init__(self, system: str | None) -> None:
            self.heard: list[str] = [system] if system else []
            self.again = lambda: Session(system)

        def stream(self, text: str) -> list[str]:
            self.heard.append(text)
            return ["heard ", str(len(self.heard))]

        def say(self, text: str) -> str:
            return "".join(self.stream(text))

    library.chat = lambda _, *, system, template: Session(template or system)
    lines = iter(["one", "two", "/new", "three", ""])
    monkeypatch.setattr("builtins.input", lambda: next(lines))
    assert call("chat", "run").out.splitlines() == ["heard 1", "heard 2", "heard 1"]
    assert call("chat", "run", "--system", "s", "-m", "x").out == "heard 2\n"
    assert call("chat", "run", "--template", "t", "-m", "x").out == "heard 2\n"
    assert call("chat", "run", "-m", "x", "--json").json == {"message": "x", "answer": "heard 1"}


def test_the_demo_tells_its_story(call: Tunesmith, library: ModuleType, tmp_path: Path) -> None:
    def measured(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.125, "high": value + 0.125, "n": 140}

    result = {
        "run": "runs/demo",
        "before": {"exact_match": measured(0.125)},
        "after": {"exact_match": measured(0.75)},
        "forgetting": {
            "before": {"loss": measured(2.0)},
            "after": {"loss": measured(2.25)},
            "nats_per_token": measured(0.5),
        },
        "proofs": [
            {"name": "mask [x]", "passed": True, "measured": 0.0, "bound": 1e-5, "why": "w"},
            Outcome("resume", None, None, None, "not proven within 60 s").as_dict(),
        ],
        "answers": [{"question": "[1]?", "wanted": "one", "before": "b" * 300, "after": "one"}],
        "seconds": 12.5,
    }
    seen: list[Any] = []

    def demo(out: Path | None, *, sinks: tuple[Any, ...]) -> dict[str, Any]:
        seen.append((out, len(sinks)))
        return result

    library.demo = demo
    said = call("demo", "--out", tmp_path / "d")
    assert said.code == 0
    assert seen == [(tmp_path / "d", 1)]
    for word in (
        "mask [x]",
        "not proven within 60 s  (resume: skipped)",
        "0.125 [0, 0.25]",
        "0.75 [0.625, 0.875]",
        "0.5 [0.375, 0.625] nats",
        "[1]?",
        "b…",
        "12 seconds",
    ):
        assert word in said.out, word
    assert "tunesmith init" in said.err
    assert call("demo", "--json").json == result


def test_merge_prints_what_was_proved(call: Tunesmith, library: ModuleType, tmp_path: Path) -> None:
    library.merge = lambda run, out: {"run": str(run), "out": str(out), "largest_difference": 2e-6}
    said = call("merge", "runs/a", "--out", tmp_path)
    assert str(tmp_path) in said.out.replace("\n", "")
    assert "2.0e-06" in said.out
    assert call("merge", "runs/a", "--out", tmp_path, "--json").json["largest_difference"] == 2e-6


@pytest.mark.parametrize("name", ["recipe.yaml", "nothing.yaml"])
@pytest.mark.parametrize("command", ["train", "check"])
def test_a_recipe_error_is_told_before_the_library_is_called(
    command: str, name: str, call: Tunesmith, library: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text("trian: {}")
    said = call(command, tmp_path / name, "--json")
    assert said.code == 2
    assert said.json["error"]["code"] == {"recipe.yaml": "unknown-key", "nothing.yaml": "missing-recipe"}[name]
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.learning_rate=-1e-4", ["train.learning_rate", "-0.0001", "more than 0"]),
        ("train.epochs=soon", ["train.epochs", "'soon'", "a number"]),
        ("train.epoch=1", ["train.epoch", "Did you mean"]),
        ("train.schedule=cosin", ["train.schedule", "cosine"]),
        ("epochs", ["not of the form a.b=c"]),
    ],
)
def test_a_wrong_override_is_named(
    override: str, words: list[str], call: Tunesmith, library: ModuleType, recipe: Path
) -> None:
    said = call("train", recipe, override)
    assert said.code == 2
    for word in words:
        assert word in said.err


def test_doctor_measures_and_names_the_command_that_installs(call: Tunesmith) -> None:
    found = call("doctor", "--json").json
    assert found["versions"]["torch"]
    assert found["hardware"]["cores"] >= 1
    assert found["hardware"]["memory_bytes"] > 2**28
    assert found["speeds"]["float32_gflops"] > 0
    assert found["speeds"]["dtype"] in ("float32", "bfloat16")
    extras = {extra["name"]: extra for extra in found["extras"]}
    assert extras["peers"]["install"] == "pip install 'tunesmith[peers]'"
    assert "Matrix products" in call("doctor").out


def test_formats_are_listed_and_shown(call: Tunesmith) -> None:
    names = {item["name"] for item in call("formats", "--json").json}
    assert {"alpaca", "sharegpt", "messages", "text"} <= names
    assert "[question, answer]" in call("formats", "alpaca").out
    said = call("formats", "alpacca")
    assert said.code == 2
    assert "Did you mean 'alpaca'?" in said.err


@pytest.mark.parametrize(("kind", "name"), [("methods", "lora"), ("objectives", "sft"), ("rewards", "overlong")])
def test_parts_tell_their_options_and_paper(kind: str, name: str, call: Tunesmith) -> None:
    by_name = {item["name"]: item for item in call(kind, "--json").json}
    part = by_name[name]
    assert set(part) >= {"name", "summary", "paper", "options"}
    assert part["summary"]
    assert part["paper"]
    assert all(option["help"] for option in part["options"])
    told = call(kind, name).out.splitlines()
    for option in part["options"]:
        place = next(at for at, line in enumerate(told) if line.startswith(f"  {option['name']}  ("))
        assert told[place + 1].strip() == option["help"]
    assert call(kind, name + "x").code == 2


def test_an_unknown_suite_is_told_with_the_shipped_one(call: Tunesmith, library: ModuleType) -> None:
    said = call("eval", "embedded", "--suite", "nope")
    assert said.code == 2
    assert "tunesmith:instructions, embedded, the path of a suite file" in said.err
    assert "Did you mean 'embedded'?" in call("eval", "embedded", "--suite", "embeded").err


def test_the_shipped_suite_is_named_as_it_is_known() -> None:
    from tunesmith.cli.eval import EMBEDDED, SCHEME
    from tunesmith.evaluation import suites
    from tunesmith.run.suites import EMBEDDED_SUITE

    assert (EMBEDDED, SCHEME) == (EMBEDDED_SUITE, suites.SCHEME)
