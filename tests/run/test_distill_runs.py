"""Whole runs of ``distill`` on a tiny base: a teacher in process, what one stored, answers of the student's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.run.running import Material, StopAt, curve, go

from tiny_base import make_base, make_tokenizer
from tunesmith.data.formats.messages import FORMAT
from tunesmith.engine.sinks.jsonl import read
from tunesmith.errors import UserError
from tunesmith.models.load import load_model
from tunesmith.models.shallow import evenly, write_shallow
from tunesmith.objectives.stored_teacher import COLUMN
from tunesmith.recipe import Recipe
from tunesmith.recipe.schema import SourceConfig
from tunesmith.run import Run, train
from tunesmith.run.session import Language
from tunesmith.run.teaching import teach


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def teacher(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return go(material.recipe(steps=30), tmp_path_factory.mktemp("teacher") / "run")


def distilled(recipe: Recipe, **options: Any) -> Recipe:
    return recipe.model_copy(update={"objective": type(recipe.objective)(name="distill", **options)})


def terms(run: Run) -> list[dict[str, float]]:
    return [event["terms"] for event in read(run.folder / "events.jsonl") if event["kind"] == "step"]


@pytest.mark.slow
def test_a_student_follows_its_teacher(material: Material, teacher: Run, tmp_path: Path) -> None:
    """Proven, its divergence falls, and its answers become likelier although it never saw them as targets."""
    recipe = distilled(material.recipe(steps=40), teacher=str(teacher.folder))
    run = train(recipe, out=tmp_path / "run")
    assert run.proven
    found = terms(run)
    assert found[-1]["divergence"] < 0.3 * found[0]["divergence"]
    assert found[-1]["nll"] < 0.7 * found[0]["nll"]
    assert curve(run.folder)[0] == pytest.approx(found[0]["divergence"])


def test_a_teacher_that_is_the_student_teaches_nothing(material: Material, tmp_path: Path) -> None:
    recipe = distilled(material.recipe(method="lora", steps=2), teacher=str(material.base))
    run = go(recipe, tmp_path / "run")
    assert abs(terms(run)[0]["divergence"]) < 1e-5


@pytest.mark.slow
def test_the_hard_loss_has_its_share(material: Material, teacher: Run, tmp_path: Path) -> None:
    recipe = distilled(material.recipe(steps=2), teacher=str(teacher.folder), hard=0.25)
    run = go(recipe, tmp_path / "run")
    for loss, one in zip(curve(run.folder), terms(run), strict=True):
        assert loss == pytest.approx(0.75 * one["divergence"] + 0.25 * one["nll"], rel=1e-5)


@pytest.mark.slow
def test_answers_of_the_students_own(material: Material, teacher: Run, tmp_path: Path) -> None:
    """All of them: the row's answers are never seen, and the same run twice is the same."""
    options = {"teacher": str(teacher.folder), "on_policy": 1.0, "max_new_tokens": 12, "divergence": "reverse"}
    curves = [
        curve(go(distilled(material.recipe(steps=12), **options), tmp_path / name).folder) for name in ("one", "two")
    ]
    assert curves[0] == curves[1]
    found = terms(Run.open(tmp_path / "one"))
    assert all(one["nll"] == 0.0 for one in found)
    assert found[-1]["divergence"] < found[0]["divergence"]


@pytest.mark.slow
def test_a_resumed_run_samples_the_same_answers(material: Material, teacher: Run, tmp_path: Path) -> None:
    options = {"teacher": str(teacher.folder), "on_policy": 0.5, "max_new_tokens": 8}
    recipe = distilled(material.recipe(steps=6, save_every=2), **options)
    whole = curve(go(recipe, tmp_path / "whole").folder)
    go(recipe, tmp_path / "parts", sinks=(StopAt(3),))
    assert curve(go(recipe, tmp_path / "parts", resume=True).folder) == whole


def test_what_a_teacher_stored_in_the_rows(material: Material, tmp_path: Path) -> None:
    """Stored by the student itself: the divergence is 0 at first, over five tokens and all others as one."""
    rows = tmp_path / "rows.jsonl"
    told = teach(material.base, SourceConfig(path=str(material.rows)), rows, top=5)
    assert told == {"out": str(rows), "rows": 60, "left_out": 0, "top": 5}
    run = go(distilled(Material(material.base, rows).recipe(steps=2)), tmp_path / "run")
    assert run.recipe.objective.fields["stored"] == 5
    assert abs(terms(run)[0]["divergence"]) < 1e-5
    assert terms(run)[0]["nll"] > 1.0


def test_what_is_stored_is_what_transformers_says(material: Material, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    teach(material.base, SourceConfig(path=str(material.rows)), rows, top=3)
    row = json.loads(rows.read_text().splitlines()[7])
    encoder = Language.of(material.recipe()).encoder
    (one,) = encoder.conversation(FORMAT.read(row), "answers")
    with torch.no_grad():
        said = load_model(str(material.base))(input_ids=torch.tensor([one.ids])).logits[0].log_softmax(-1)
    places = [at - 1 for at, trained in enumerate(one.trained) if trained]
    top = said[places].topk(3)
    stored = torch.tensor(row[COLUMN])
    assert torch.equal(stored[..., 0].long(), top.indices)
    assert torch.allclose(stored[..., 1], top.values, atol=2e-5)


def refused(recipe: Recipe, folder: Path) -> UserError:
    with pytest.raises(UserError) as found:
        go(recipe, folder)
    return found.value


def test_another_vocabulary_is_refused_in_one_sentence(material: Material, tmp_path: Path) -> None:
    other = make_base(tmp_path / "other")
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<more>"])
    tokenizer.save_pretrained(other)
    error = refused(distilled(material.recipe(steps=2), teacher=str(other)), tmp_path / "run")
    assert error.code in ("teacher-vocabulary", "vocabulary-mismatch")


@pytest.mark.parametrize("options", [{}, {"teacher": "nowhere/at/all"}])
def test_no_teacher_is_refused(material: Material, tmp_path: Path, options: dict[str, str]) -> None:
    error = refused(distilled(material.recipe(steps=2), **options), tmp_path / "run")
    assert error.code in ("no-teacher", "model-not-found", "not-a-run")


def test_a_shallow_student(tmp_path: Path) -> None:
    assert [evenly(6, 3), evenly(6, 1), evenly(2, 2), evenly(5, 2)] == [[0, 2, 5], [0], [0, 1], [0, 4]]
    base = make_base(tmp_path / "base")
    assert write_shallow(str(base), 1, tmp_path / "one") == [0]
    whole, half = load_model(str(base)), load_model(str(tmp_path / "one"))
    assert half.config.num_hidden_layers == len(half.model.layers) == 1
    kept = half.state_dict()
    assert all(torch.equal(whole.state_dict()[name], tensor) for name, tensor in kept.items())
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        assert half(ids).logits.shape == whole(ids).logits.shape
    with pytest.raises(UserError, match="cannot be cut"):
        write_shallow(str(base), 3, tmp_path / "three")
