"""A run from recipe to report: what is measured when, what is written, and what a changed recipe does on resuming."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from running import LORA, Material, go

from tiny_base import make_rows
from tunesmith.engine.sinks.jsonl import read
from tunesmith.errors import UserError
from tunesmith.models import probe
from tunesmith.recipe import Recipe
from tunesmith.recipe.schema import EarlyStopping, SourceConfig
from tunesmith.run import Run, chat, load, merge, proving, train
from tunesmith.run.journey import free_folder, side_by_side
from tunesmith.run.judge import Marks, compared, name_of


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


@pytest.mark.parametrize("method", [LORA, "full"])
def test_the_base_is_measured_as_the_base(material: Material, tmp_path: Path, method: object) -> None:
    """An adapter's base is measured after training with the adapter off, a whole model's before: the same numbers."""
    recipe = material.recipe(method=method, steps=6)
    recipe = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"before": True, "prompts": 2})})
    run = go(recipe, tmp_path / "run")
    before, after = run.read("eval/before.json"), run.read("eval/after.json")
    assert after["task"]["nll"]["n"] == before["task"]["nll"]["n"]
    assert before["task"]["nll"]["value"] > after["task"]["nll"]["value"] + 0.1
    assert run.summary()["validation_loss"] == pytest.approx(after["task"]["nll"]["value"], abs=1e-6)
    assert [row["prompt"] for row in before["answers"]] == [row["prompt"] for row in after["answers"]]
    assert run.report.finished
    assert run.report.before == before["task"]


def test_the_first_update_comes_before_any_exam_of_an_adapter(material: Material, tmp_path: Path) -> None:
    recipe = material.recipe(method=LORA, steps=2)
    recipe = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"before": True})})
    run = go(recipe, tmp_path / "run")
    texts = [(event["kind"], event.get("text", "")) for event in read(run.events)]
    first = next(index for index, (kind, _) in enumerate(texts) if kind == "step")
    exams = [index for index, (_, text) in enumerate(texts) if text.startswith("the base:")]
    assert exams
    assert min(exams) > first


def test_resuming_with_another_recipe_is_refused(material: Material, tmp_path: Path) -> None:
    go(material.recipe(steps=2), tmp_path / "run")
    with pytest.raises(UserError, match=r"train\.learning_rate") as raised:
        go(material.recipe(steps=2, learning_rate=1e-3), tmp_path / "run", resume=True)
    assert raised.value.code == "recipe-changed"


def test_a_finished_run_answers_from_python(material: Material, tmp_path: Path) -> None:
    run = go(material.recipe(method=LORA, steps=3), tmp_path / "run")
    assert isinstance(run.model.generate("Say one.", max_new_tokens=4), str)
    assert sum(value.numel() for value in load(run).parameters()) > run.report.trainable_parameters
    result = merge(run, tmp_path / "merged")
    assert result["difference"] <= result["bound"]
    with pytest.raises(UserError, match="not empty"):
        merge(run, tmp_path / "merged")


def test_forgetting_is_the_change_a_token_and_survives_the_file() -> None:
    """(3 + 5 − 2 − 4) / (2 + 2) = 0.5 nats, of three pairs of sequences."""

    def marks(nll: list[float]) -> Marks:
        sums = {
            "nll": nll,
            "tokens": [2.0] * 6,
            "hits": [1.0, 0.0] * 3,
            "sources": [0] * 6,
            "rows": [*range(6)],
            "content": [*range(7, 13)],
        }
        first = Marks.from_dict({"sums": {"retention": sums}})
        return Marks.from_dict(json.loads(json.dumps(first.as_dict())))

    nll = compared(marks([2.0, 4.0] * 3), marks([3.0, 5.0] * 3))[0]
    assert nll.metric == "nll"
    assert nll.change is not None
    assert nll.change.value == pytest.approx(0.5)
    assert nll.verdict == "worse"
    assert compared(Marks.from_dict({}), marks([3.0, 5.0] * 3))[0].change is None


def test_a_folder_with_somebody_s_own_recipe_is_not_taken(material: Material, tmp_path: Path) -> None:
    """``--out .`` beside the recipe must not clear it away as the start of a run."""
    (tmp_path / "recipe.yaml").write_text("name: mine\n")
    for resume in (False, True):
        with pytest.raises(UserError, match="no run wrote") as raised:
            go(material.recipe(steps=1), tmp_path, resume=resume)
        assert raised.value.code == "not-a-run"
    assert (tmp_path / "recipe.yaml").read_text() == "name: mine\n"


def test_why_a_model_is_driven_padded_is_told(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(probe, "probe_flat", lambda _: probe.Finding(False, "its attention ignores the layout"))
        run = go(material.recipe(steps=1, model={"driver": "auto"}), tmp_path / "run")
    notes = [event["text"] for event in read(run.events) if event["kind"] == "note"]
    assert "driven padded: its attention ignores the layout" in notes
    assert run.recipe.model.driver == "padded"
    flat = go(material.recipe(steps=1, model={"driver": "auto"}), tmp_path / "flat")
    assert not [event for event in read(flat.events) if "padded" in event.get("text", "")]


def test_a_mistake_of_the_user_s_inside_a_proof_stays_one(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("the disk is full", code="cannot-write")

    monkeypatch.setattr("tunesmith.proof.save_load.values_of", refuse)
    with pytest.raises(UserError, match="the disk is full"):
        train(material.recipe(method=LORA, steps=1), out=tmp_path / "run")


def test_proofs_without_time_are_in_the_record_and_do_not_fail(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "prove_session", partial(proving.prove_session, budget_seconds=-1.0))
    run = train(material.recipe(method=LORA, steps=1), out=tmp_path / "run")
    proofs = run.read("proof.json")["proofs"]
    assert {proof["passed"] for proof in proofs} == {None}
    assert all(proof["skipped"].startswith("not proven within") for proof in proofs)
    assert run.report.proofs == proofs


def test_sources_are_told_apart_in_the_result(material: Material, tmp_path: Path) -> None:
    recipe = material.recipe(method=LORA, steps=1)
    other = make_rows(tmp_path / "other.jsonl", 90)
    sources = [*recipe.data.train, SourceConfig(path=str(other))]
    run = go(changed(recipe, "data", train=sources), tmp_path / "run")
    after = run.read("eval/after.json")
    found, sums = run.report.by_source, after["sums"]["task"]
    assert list(found) == [source.path for source in sources]
    assert found == after["by_source"]
    for number, name in enumerate(found):
        own = [at for at, source in enumerate(sums["sources"]) if source == number]
        mean = sum(sums["nll"][at] for at in own) / sum(sums["tokens"][at] for at in own)
        assert found[name]["nll"]["value"] == pytest.approx(mean)
        assert found[name]["nll"]["n"] == len(own)
    assert go(recipe, tmp_path / "one").report.by_source == {}
    assert name_of(1, ["a", "a", "b"]) == "a (source 2)"


def test_the_demo_takes_a_free_folder(tmp_path: Path) -> None:
    assert free_folder(tmp_path / "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert free_folder(tmp_path / "demo") == tmp_path / "demo-3"


def test_questions_stand_side_by_side() -> None:
    row = {"prompt": "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n", "reference": "so"}
    (only,) = side_by_side([{**row, "answer": "a"}], [{**row, "answer": "b"}])
    assert only == {"question": "Why?", "wanted": "so", "before": "a", "after": "b"}


def changed(recipe: Recipe, section: str, **values: object) -> Recipe:
    return recipe.model_copy(update={section: getattr(recipe, section).model_copy(update=values)})


def test_an_unproven_run_is_proven_on_resuming(material: Material, tmp_path: Path) -> None:
    """Stopped during the proofs: going on without them would train unproven."""
    recipe = material.recipe(method=LORA, steps=2)
    run = go(recipe, tmp_path / "run")
    assert not run.proven
    again = train(recipe, out=tmp_path / "run", resume=True)
    assert again.proven
    assert len(again.read("proof.json")["proofs"]) >= 10


def test_a_folder_is_one_process_s(material: Material, tmp_path: Path) -> None:
    with Run(tmp_path / "run").lock(), pytest.raises(UserError) as raised:
        go(material.recipe(steps=1), tmp_path / "run")
    assert raised.value.code == "run-busy"
    assert go(material.recipe(steps=1), tmp_path / "run").report.finished


def test_a_start_that_left_nothing_can_be_started_again(material: Material, tmp_path: Path) -> None:
    run = go(material.recipe(steps=1), tmp_path / "run")
    for name in ("checkpoints", "model"):
        shutil.rmtree(run.folder / name)
    assert go(material.recipe(steps=2), tmp_path / "run").report.steps == 2


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"early_stopping": EarlyStopping(metric="foo")}, "unknown-metric"),
        ({"optimizer": "adamq"}, "unknown-optimizer"),
    ],
)
def test_what_training_needs_is_checked_before_the_model_loads(
    material: Material, tmp_path: Path, options: dict[str, object], code: str
) -> None:
    with pytest.raises(UserError) as raised:
        go(material.recipe(steps=1, **options), tmp_path / "run")
    assert raised.value.code == code
    assert not (tmp_path / "run").exists()


def test_files_of_the_exam_are_checked_before_anything_else(material: Material, tmp_path: Path) -> None:
    recipe = material.recipe(steps=1)
    with pytest.raises(UserError, match="retention"):
        go(recipe.model_copy(update={"retention": ["nope.txt"]}), tmp_path / "a")
    with pytest.raises(UserError, match="suite"):
        go(changed(recipe, "evaluate", suites=["nope.yaml"]), tmp_path / "b")


def test_the_recipe_s_suites_are_measured(material: Material, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: s\ntasks:\n  - {name: t, rows: [{text: The river is called Anna.}], metric: perplexity}\n")
    run = go(changed(material.recipe(steps=1), "evaluate", suites=[str(path)]), tmp_path / "run")
    (suite,) = run.report.suites
    assert suite["metrics"]["t"]["value"] > 1
    assert run.read("eval/suite-s.json")["metrics"] == suite["metrics"]


def test_a_mistyped_run_is_no_hub_id(material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine" / "adapter").mkdir(parents=True)
    (tmp_path / "runs" / "mint").mkdir()
    with pytest.raises(UserError, match="Did you mean 'runs/mine'") as raised:
        chat("runs/mime")
    assert raised.value.code == "not-a-run"
