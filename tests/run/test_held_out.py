"""What is told while a run trains: answers to a few held-out prompts, losses by source, noise; none of it changes the
training, and a run that was stopped tells the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from running import LORA, Material, StopAt, curve, go, result

from tunesmith.data.chat import ChatEncoder
from tunesmith.engine.sinks.jsonl import read
from tunesmith.recipe import Recipe
from tunesmith.run.rows import choose
from tunesmith.run.so_far import so_far

STEPS = 36
TIMED = frozenset({"seconds", "memory", "cpu_seconds", "joules"})


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


def asked(material: Material, *, samples: int = 2, **changed: Any) -> Recipe:
    """LoRA with dropout on two sources, in several micro-batches an update."""
    other = material.rows.with_name("others.jsonl")
    if not other.exists():
        rows = [{"prompt": f"Say {n} twice.", "completion": f"{n} {n}"} for n in range(40)]
        other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = material.recipe(method=LORA, steps=STEPS, save_every=3, evaluate_every=6, tokens_per_microbatch=100)
    data = plain.data.model_dump() | {"train": [str(material.rows), str(other)]}
    evaluate = {"prompts": 0, "before": False, "samples": samples, "max_new_tokens": 6}
    return Recipe.model_validate(plain.model_dump() | {"data": data, "evaluate": evaluate} | changed)


@pytest.fixture(scope="module")
def whole(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go(asked(material), tmp_path_factory.mktemp("whole") / "run").folder


def told(run: Path) -> list[dict[str, Any]]:
    """All that updates and evaluations said, but what clocks say."""
    kinds = ("step", "evaluation", "samples")
    events = [event for event in read(run / "events.jsonl") if event["kind"] in kinds]
    return [{name: value for name, value in event.items() if name not in TIMED} for event in events]


def test_answers_stand_in_the_record_for_every_evaluation(whole: Path) -> None:
    events = read(whole / "events.jsonl")
    samples = [event for event in events if event["kind"] == "samples"]
    assert [event["step"] for event in samples] == [0, 6, 12, 18, 24, 30, 36]
    questions = {tuple(one["prompt"] for one in event["answers"]) for event in samples}
    (prompts,) = questions
    assert len(set(prompts)) == 2
    said = {tuple(one["answer"] for one in event["answers"]) for event in samples}
    assert len(said) > 1, "answers change while it learns"
    assert all(one["reference"] for one in samples[0]["answers"])


def test_they_are_what_the_model_says_at_that_update(material: Material, whole: Path, tmp_path: Path) -> None:
    """A run that ends at update 12 with the same schedule says the same when it is asked as a finished model."""
    from tunesmith.contracts.sampler import Ask
    from tunesmith.run.judge import generator
    from tunesmith.run.use import open_run

    session = open_run(go(asked(material), tmp_path / "run", sinks=(StopAt(12),)))
    (event,) = [one for one in read(whole / "events.jsonl") if one["kind"] == "samples" and one["step"] == 12]
    for one in event["answers"]:
        ids = session.tokenizer(one["prompt"])["input_ids"]
        ((answer,),) = generator(session, max_new_tokens=6).sample([Ask(ids)])
        assert session.encoder.decode(answer.ids).strip() == one["answer"]


def test_neither_answers_nor_noise_change_a_bit(
    material: Material, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith.engine.noise.EVERY", 10**6)
    run = go(asked(material, samples=0), tmp_path / "run").folder
    assert not [event for event in read(run / "events.jsonl") if event["kind"] == "samples"]
    for name in ("loss", "norm", "terms"):
        assert curve(run, name) == curve(whole, name)
    ours, other = result(run), result(whole)
    assert all(torch.equal(ours[name], other[name]) for name in other)


@pytest.mark.parametrize("stops", [[4], [9, 18, 19]])
def test_a_stopped_run_tells_the_same(stops: list[int], material: Material, whole: Path, tmp_path: Path) -> None:
    """Losses by source, noise, sizes of updates (that of the tenth too, before which it stopped), answers."""
    recipe = asked(material)
    for number, step in enumerate(stops):
        go(recipe, tmp_path / "run", resume=number > 0, sinks=(StopAt(step),))
    go(recipe, tmp_path / "run", resume=True)
    ours, wanted = told(tmp_path / "run"), told(whole)
    assert ours == wanted
    keys = {key for event in wanted for key in event}
    assert keys >= {"terms", "counts", "gradient", "update_ratio", "answers", "validation_loss/rows"}
    one, other = (json.loads((run / "report.json").read_text()) for run in (tmp_path / "run", whole))
    assert one["noise_scale"] == other["noise_scale"]
    assert one["noise_scale"]["n"] == STEPS // 4


def test_losses_by_source_are_the_updates_loss(whole: Path) -> None:
    """To 1e-6: sums of float32 in another order."""
    steps = [event for event in read(whole / "events.jsonl") if event["kind"] == "step"]
    for event in steps:
        terms, counts = event["terms"], event["counts"]
        parts = [name for name in terms if "/" in name]
        assert sum(counts[name] for name in parts) == counts["nll"] == event["units"]
        assert sum(terms[name] * counts[name] for name in parts) / counts["nll"] == pytest.approx(
            event["loss"], rel=1e-6
        )
    assert any({"nll/rows", "nll/others"} <= event["terms"].keys() for event in steps)


def test_where_a_run_stands(whole: Path) -> None:
    from tunesmith.run import Run

    found = so_far(Run.open(whole))
    steps = [event for event in read(whole / "events.jsonl") if event["kind"] == "step"]
    assert (found["step"], found["steps"]) == (STEPS, STEPS)
    assert found["loss"] == pytest.approx(sum(event["loss"] for event in steps[-10:]) / 10)
    assert set(found["by_source"]) == {"rows", "others"}
    units = sum(one["units"] for one in found["by_source"].values())
    assert units == sum(event["units"] for event in steps)
    assert found["cpu_seconds"] == pytest.approx(sum(event["cpu_seconds"] for event in steps), abs=1e-3)
    assert len(found["samples"]) == 7


@pytest.mark.parametrize(
    ("objective", "row", "prompts"),
    [
        ("pretrain", {"text": "Some text number {n} to be read."}, 0),
        ("classify", {"text": "Some text number {n}", "label": "{n}"}, 0),
        ("dpo", {"prompt": "Say {n}.", "chosen": "It is {n}.", "rejected": "No {n}"}, 2),
    ],
)
def test_only_models_that_answer_are_asked(
    objective: str, row: dict[str, str], prompts: int, material: Material, tmp_path: Path
) -> None:
    rows = [{key: text.format(n=n % 2 if key == "label" else n) for key, text in row.items()} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    given = asked(material, objective={"name": objective}).model_dump()
    given["data"] |= {"train": [str(tmp_path / "rows.jsonl")]}
    given["train"] |= {"steps": 2, "evaluate_every": 2}
    run = go(Recipe.model_validate(given), tmp_path / "run").folder
    samples = [event for event in read(run / "events.jsonl") if event["kind"] == "samples"]
    assert len(samples) == (2 if prompts else 0)
    for event in samples:
        assert [one["reference"] for one in event["answers"]] == [
            one["prompt"].split("Say ")[1].split(".")[0].join(["It is ", "."]) for one in event["answers"]
        ]


def test_they_are_the_first_that_the_exam_asks(material: Material, whole: Path) -> None:
    from tunesmith.run import prepare
    from tunesmith.run.session import Language

    recipe = asked(material)
    encoder: ChatEncoder = Language.of(recipe).encoder
    exam = choose(prepare(recipe).validation_records, encoder, 5, seed=recipe.seed)
    first = next(event for event in read(whole / "events.jsonl") if event["kind"] == "samples")
    assert [one["prompt"] for one in first["answers"]] == [prompt.text for prompt in exam[:2]]


def test_the_command_tells_it(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tunesmith.cli.main import main

    assert main(["inspect", str(whole), "progress"]) == 0
    said = capsys.readouterr().out
    for words in ("36 of 36", "held-out loss/others", "gradient noise scale", "others", "update 30", "wanted"):
        assert words in said
    assert main(["inspect", str(whole), "progress", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["noise_scale"]["batch"] > 1
    assert main(["inspect", str(whole), "progres"]) == 2
    assert "progress" in capsys.readouterr().err
    assert main(["inspect", str(whole.parent), "progress"]) == 2


def test_a_run_that_has_not_begun_stands_at_nothing(whole: Path, tmp_path: Path) -> None:
    from tunesmith.cli.output import stdout
    from tunesmith.cli.progress import tell_progress
    from tunesmith.run import Run

    (tmp_path / "recipe.yaml").write_text((whole / "recipe.yaml").read_text())
    found = so_far(Run.open(tmp_path))
    assert (found["step"], found["loss"], found["samples"], found["cpu_seconds"]) == (0, None, [], None)
    tell_progress(found, stdout())
