"""Rounds of mining failures: the exam stays one, failures are learned with old rows beside them, all can be stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from running import LORA, Material, StopAt, go

from tunesmith.errors import UserError
from tunesmith.evaluation.answers import AnswerReport, AnswerRow
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import dump
from tunesmith.run import Run, iterate
from tunesmith.run.judge import Marks
from tunesmith.run.making import judged_answers
from tunesmith.run.rounds import _again

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose answers are all wrong."""
    material = Material.make(tmp_path_factory.mktemp("material"))
    values = material.recipe(method=LORA, steps=4, save_every=1).model_dump()
    values["evaluate"] = {"prompts": 4, "max_new_tokens": 6, "before": True}
    folder = tmp_path_factory.mktemp("runs") / "first"
    go(Recipe.model_validate(values), folder)
    return folder


def asked_in(path: Path) -> set[str]:
    return {json.loads(line)["messages"][0]["content"] for line in path.read_text().splitlines()}


def marks(folder: Path) -> Any:
    return json.loads((folder / "eval" / "after.json").read_text())


def test_a_round_learns_failures_and_is_judged_on_the_same_rows(first: Path, tmp_path: Path) -> None:
    found = iterate(first, rounds=1, out=tmp_path / "rounds", limit=12)
    (one,) = found["rounds"]
    assert (found["finished"], one["asked"], one["wrong"]) == (True, 12, 12)
    held = asked_in(tmp_path / "rounds" / "data" / "held-out-0.jsonl")
    mined = asked_in(tmp_path / "rounds" / "round-1" / "failures.jsonl")
    assert len(held) == 6 and not held & mined
    before, after = marks(first), marks(tmp_path / "rounds" / "round-1" / "run")
    assert after["sums"]["task"]["content"] == before["sums"]["task"]["content"]
    assert [row["prompt"] for row in after["answers"]] == [row["prompt"] for row in before["answers"]]
    assert one["watched"] == ["answers", "exact_match"]
    assert one["changes"]["task"]["nll"]["before"] == before["task"]["nll"]
    recipe = Run(tmp_path / "rounds" / "round-1" / "run").recipe
    assert recipe.model.start == str(first.resolve())
    assert [Path(source.path).name for source in recipe.data.train] == ["failures.jsonl"]
    (replay,) = recipe.addons
    assert (replay.name, replay.fields["share"]) == ("replay", 0.5)
    assert Path(replay.fields["data"][0]["path"]).name == "old-0.jsonl"


def test_more_rounds_go_on_from_the_last(first: Path, tmp_path: Path) -> None:
    out = tmp_path / "rounds"
    once = iterate(first, rounds=1, out=out, limit=8, replay=0.0)
    twice = iterate(first, rounds=2, out=out, limit=8, replay=0.0)
    assert twice["rounds"][0]["run"] == once["rounds"][0]["run"]
    second = Run(out / "round-2" / "run")
    assert second.recipe.model.start == str((out / "round-1" / "run").resolve())
    assert not second.recipe.addons
    assert iterate(first, rounds=2, out=out, limit=8, replay=0.0) == twice


def test_stopped_inside_a_round_and_given_again(first: Path, tmp_path: Path) -> None:
    out = tmp_path / "rounds"
    stopped = iterate(first, rounds=1, out=out, limit=8, sinks=(StopAt(2),))
    assert (stopped["finished"], stopped["rounds"]) == (False, [])
    assert not Run(out / "round-1" / "run").finished
    found = iterate(first, rounds=1, out=out, limit=8)
    whole = iterate(first, rounds=1, out=tmp_path / "whole", limit=8)
    assert found["rounds"][0]["changes"] == whole["rounds"][0]["changes"]


def test_where_nothing_is_wrong_there_is_no_round(first: Path, tmp_path: Path) -> None:
    found = iterate(first, rounds=3, out=tmp_path / "rounds", below=0.0, limit=8)
    assert (found["rounds"], found["finished"]) == ([], True)
    assert "nothing" in found["stopped"]


def test_a_round_has_as_many_epochs_as_were_asked_for_or_as_many_steps(first: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(first, copy)
    assert _again(Run(copy), []).train.steps == 4
    asked = Recipe.load(copy / "asked.yaml")
    train = asked.train.model_copy(update={"steps": None, "epochs": 2.0})
    (copy / "asked.yaml").write_text(dump(asked.model_copy(update={"train": train})))
    assert _again(Run(copy), []).train.steps is None


def test_what_cannot_be_is_told(first: Path, tmp_path: Path) -> None:
    for options, code in (({"rounds": 0}, "bad-rounds"), ({"replay": 1.0}, "bad-rounds")):
        with pytest.raises(UserError) as told:
            iterate(first, out=tmp_path / "rounds", **options)
        assert told.value.code == code
    with pytest.raises(UserError) as told:
        iterate(tmp_path, out=tmp_path / "rounds")
    assert told.value.code == "not-a-run"


def test_the_answers_of_an_exam_find_their_rows(first: Path) -> None:
    parents = judged_answers(first)
    rows = marks(first)["answers"]
    assert [parent.answer for parent in parents] == [row["answer"] for row in rows]
    assert [(parent.record.messages or ())[-1].content for parent in parents] == [row["reference"] for row in rows]
    lines = (Path(parents[0].file)).read_text().splitlines()
    for parent in parents:
        assert (
            json.loads(lines[parent.line - 1])["messages"][-1]["content"] == (parent.record.messages or ())[-1].content
        )


def test_answers_of_other_data_are_told(first: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(first, copy)
    changed = Marks.from_dict(marks(first))
    assert changed.answers is not None
    rows = [
        AnswerRow("never asked", row.reference, row.answer, row.stopped, row.scores) for row in changed.answers.rows
    ]
    Run(copy).write("eval/after.json", Marks(None, AnswerReport.of(rows), None).as_dict())
    with pytest.raises(UserError) as told:
        judged_answers(copy)
    assert told.value.code == "data-changed"
    Run(copy).write("eval/after.json", Marks(None, None, None).as_dict())
    with pytest.raises(UserError) as told:
        judged_answers(copy)
    assert told.value.code == "no-answers"
