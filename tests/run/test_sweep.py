"""A sweep's trials are the runs they would have been alone; losers stop, nothing finished is trained again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from running import Material, curve, evaluations, go, result

from tunesmith.engine.sinks.jsonl import read
from tunesmith.errors import Interrupted, UserError
from tunesmith.events import Event
from tunesmith.recipe import Recipe
from tunesmith.run.sweep_space import recipe_with, space, spaces
from tunesmith.run.sweep_trials import Plan, sweep

PLAIN = {"epochs": 2, "evaluate_every": 3, "save_every": 50}
ALL = Plan(halving=0)
TOP = {"name": "lora", "layers": [1]}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("sweep"))


class Heard:
    """What a sweep says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)


def swept(recipe: Recipe, over: list[str], out: Path, plan: Plan = ALL, **options: Any) -> dict[str, Any]:
    return sweep(recipe, spaces(over), plan, out=out, tell=options.pop("tell", Heard()), **options)


def alone(recipe: Recipe, row: dict[str, Any], folder: Path) -> Any:
    """The trial of ``row`` as a run of its own."""
    return go(recipe_with(recipe, row["values"], name=f"{recipe.name}-{row['number']:03d}"), folder)


@pytest.mark.parametrize(
    ("method", "model", "over"),
    [
        ("lora", {"dtype": "bfloat16"}, ["method.rank=2,4", "seed=0,1"]),
        (TOP, {"dtype": "bfloat16", "trunk_cache": "ram"}, ["train.learning_rate=1e-3,4e-3"]),
        pytest.param(
            *({"name": "lora", "init": "pissa"}, {"dtype": "bfloat16", "quantize": "nf4"}, ["method.rank=2,4"]),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *({"name": "lora", "bias": "lora_only"}, {"dtype": "bfloat16"}, ["method.dropout=0.0,0.1"]),
            marks=pytest.mark.slow,
        ),
        pytest.param(*("prompt", {"dtype": "bfloat16"}, ["method.tokens=3,5"]), marks=pytest.mark.slow),
    ],
)
def test_trials_are_the_runs_they_would_be_alone(
    material: Material, tmp_path: Path, method: Any, model: dict[str, Any], over: list[str]
) -> None:
    """Bit for bit, though the base is stored in float32 and was cast when later trials were put on it."""
    recipe = material.recipe(method=method, model=model, **PLAIN).model_copy(update={"proofs": "off"})
    found = swept(recipe, over, tmp_path / "sweep")
    assert found["base_loads"] == 1
    for row in found["trials"]:
        own = alone(recipe, row, tmp_path / f"alone-{row['number']}")
        assert curve(Path(row["run"])) == curve(own.folder)
        assert evaluations(Path(row["run"])) == evaluations(own.folder)
        ours, wanted = result(Path(row["run"])), result(own.folder)
        assert all(bool((ours[name] == wanted[name]).all()) for name in wanted)
        assert row["value"] == own.summary()["validation_loss"]


@pytest.mark.parametrize("method", ["full", {"name": "lora", "init": "loftq"}])
def test_what_changes_the_base_gets_its_own(material: Material, tmp_path: Path, method: Any) -> None:
    recipe = material.recipe(method=method, **{**PLAIN, "epochs": 1}).model_copy(update={"proofs": "off"})
    found = swept(recipe, ["train.learning_rate=1e-3,3e-3"], tmp_path / "sweep")
    assert found["base_loads"] > 1
    for row in found["trials"]:
        own = alone(recipe, row, tmp_path / f"alone-{row['number']}")
        assert curve(Path(row["run"])) == curve(own.folder)


def test_losers_stop_and_the_others_are_the_runs_they_would_be(material: Material, tmp_path: Path) -> None:
    """Nine trials: all to the first mark, a third of them to the second, one to the end."""
    recipe = material.recipe(method="lora", **{**PLAIN, "epochs": 4}).model_copy(update={"proofs": "off"})
    rates = "1e-6,3e-6,1e-5,3e-5,1e-4,3e-4,1e-3,3e-3,1e-2"
    found = swept(recipe, [f"train.learning_rate={rates}"], tmp_path / "sweep", Plan(trials=9, together=9))
    updates = {row["number"]: row["updates"] for row in found["trials"]}
    assert sorted(updates.values()) == [6] * 6 + [12] * 2 + [28]
    at_first = {row["number"]: min(value for step, value in row["curve"] if step <= 6) for row in found["trials"]}
    second = sorted(at_first, key=at_first.__getitem__)[:3]
    assert {number for number, done in updates.items() if done > 6} == set(second)
    assert found["best"]["state"] == "finished"
    own = alone(recipe, found["best"], tmp_path / "alone")
    assert curve(Path(found["best"]["run"])) == curve(own.folder)
    assert (tmp_path / "sweep" / "best").resolve() == Path(found["best"]["run"]).resolve()
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text())["best"] == found["best"]


class KilledError(Exception):
    """In place of a signal that cannot be caught."""


class KillAt:
    """A sink that ends the process, as far as a test can, at the ``count``-th update of all trials."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self, event: Event) -> None:
        if event.kind == "step":
            self.left -= 1
            if self.left == 0:
                raise KilledError


def updates_made(folder: Path) -> int:
    return sum(event["kind"] == "step" for run in folder.glob("trials/*") for event in read(run / "events.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("at", [13, 31])
def test_killed_and_gone_on_with_it_ends_the_same(material: Material, tmp_path: Path, at: int) -> None:
    recipe = material.recipe(method="lora", **{**PLAIN, "save_every": 2}).model_copy(update={"proofs": "off"})
    over, plan = ["train.learning_rate=1e-4:1e-2:log"], Plan(trials=4, halving=2)
    whole = swept(recipe, over, tmp_path / "whole", plan)
    with pytest.raises(KilledError):
        swept(recipe, over, tmp_path / "killed", plan, sinks=(KillAt(at),))
    heard = Heard()
    again = swept(recipe, over, tmp_path / "killed", plan, tell=heard)
    kept = ("number", "values", "state", "value", "updates", "curve")
    assert [[row[key] for key in kept] for row in again["trials"]] == [
        [row[key] for key in kept] for row in whole["trials"]
    ]
    third = Heard()
    assert swept(recipe, over, tmp_path / "killed", plan, tell=third)["best"] == again["best"]
    assert third.lines == []


def test_ctrl_c_stops_the_sweep_not_the_trial_alone(material: Material, tmp_path: Path) -> None:
    import signal

    recipe = material.recipe(method="lora", **PLAIN).model_copy(update={"proofs": "off"})

    def press(event: Event) -> None:
        if event.kind == "step" and event.step == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        swept(recipe, ["method.rank=2,4"], tmp_path / "sweep", sinks=(press,))
    assert updates_made(tmp_path / "sweep") == 4
    found = swept(recipe, ["method.rank=2,4"], tmp_path / "sweep")
    assert [row["updates"] for row in found["trials"]] == [14, 14]


def test_more_trials_go_on_and_another_sweep_is_refused(material: Material, tmp_path: Path) -> None:
    recipe = material.recipe(method="lora", **{**PLAIN, "epochs": 1}).model_copy(update={"proofs": "off"})
    over = ["train.learning_rate=1e-4:1e-2:log"]
    first = swept(recipe, over, tmp_path / "sweep", replace(ALL, trials=2))
    second = swept(recipe, over, tmp_path / "sweep", replace(ALL, trials=3))
    assert [row["values"] for row in second["trials"][:2]] == [row["values"] for row in first["trials"]]
    assert len({row["values"]["train.learning_rate"] for row in second["trials"]}) == 3
    with pytest.raises(UserError) as refused:
        swept(recipe, ["method.rank=2,4"], tmp_path / "sweep")
    assert refused.value.code == "sweep-changed"


def test_a_trial_that_fails_is_told_and_the_others_go_on(material: Material, tmp_path: Path) -> None:
    recipe = material.recipe(method="lora", **{**PLAIN, "epochs": 1}).model_copy(update={"proofs": "off"})
    heard = Heard()
    found = swept(recipe, ["train.learning_rate=1e-3,1e30"], tmp_path / "sweep", tell=heard)
    states = {row["values"]["train.learning_rate"]: row["state"] for row in found["trials"]}
    assert states == {1e-3: "finished", 1e30: "failed"}
    assert any("failed" in line for line in heard.lines)


def test_what_is_wrong_with_the_recipe_is_told_and_can_be_mended(tmp_path: Path) -> None:
    made = Material.make(tmp_path)
    recipe = made.recipe(method="lora", **{**PLAIN, "epochs": 1}).model_copy(update={"proofs": "off"})
    rows = made.rows.read_text()
    made.rows.write_text("")
    with pytest.raises(UserError):
        swept(recipe, ["method.rank=2,4"], tmp_path / "sweep")
    made.rows.write_text(rows)
    found = swept(recipe, ["method.rank=2,4"], tmp_path / "sweep")
    assert [row["state"] for row in found["trials"]] == ["finished", "finished"]


def test_the_base_is_measured_and_proven_once(material: Material, tmp_path: Path) -> None:
    recipe = material.recipe(method="lora", **{**PLAIN, "epochs": 1})
    recipe = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"before": True})})
    found = swept(recipe, ["method.rank=2,4"], tmp_path / "sweep")
    runs = [Path(row["run"]) for row in found["trials"]]
    before = [(run / "eval" / "before.json").read_text() for run in runs]
    assert before[0] == before[1]
    assert [(run / "proof.json").is_file() for run in runs] == [True, False]


@pytest.mark.parametrize(
    ("text", "ends", "whole", "log"),
    [
        ("method.rank=8,16", (8, 16), False, False),
        ("method.rank=4:64:log", (4, 64), True, True),
        ("train.learning_rate=1e-4:1e-2:log", (1e-4, 1e-2), False, True),
        ("train.warmup=0.0:0.1", (0.0, 0.1), False, False),
        ("method.targets=attention,[q_proj,v_proj]", ("attention", ["q_proj", "v_proj"]), False, False),
        ("model.base='a:b',c", ("a:b", "c"), False, False),
        ("train.shuffle=true", (True,), False, False),
    ],
)
def test_spaces_are_read(text: str, ends: tuple[Any, ...], whole: bool, log: bool) -> None:
    found = space(text)
    assert (found.ends, found.whole, found.log) == (ends, whole and not found.choices, log)


@pytest.mark.parametrize("text", ["rank", "rank=", "=8", "a.=3", "a=2:1", "a=0:1:log", "a=x:y", "a=8,8", "a=[1"])
def test_spaces_that_are_none(text: str) -> None:
    with pytest.raises(UserError) as refused:
        space(text)
    assert refused.value.code in ("bad-space", "bad-yaml")


@pytest.mark.parametrize(
    ("over", "options", "code"),
    [
        (["method.rnk=8,16"], {}, "unknown-key"),
        (["train.learning_rate=-1:1"], {}, "out-of-range"),
        (["method.rank=4", "method.rank=8"], {}, "bad-space"),
        (["method.rank=4"], {"data": {"validation": 0.0}}, "cannot-sweep"),
        (["name=a,b"], {}, "bad-space"),
    ],
)
def test_what_cannot_be_swept(
    material: Material, tmp_path: Path, over: list[str], options: dict[str, Any], code: str
) -> None:
    values = material.recipe(method="lora", **PLAIN).model_dump()
    for part, changed in options.items():
        values[part] |= changed
    with pytest.raises(UserError) as refused:
        swept(Recipe.model_validate(values), over, tmp_path / "sweep")
    assert refused.value.code == code
    assert not (tmp_path / "sweep").exists()


def test_marks_are_powers_of_the_factor() -> None:
    assert Plan().marks(9) == pytest.approx([1 / 9, 1 / 3])
    assert Plan().marks(8) == pytest.approx([1 / 3])
    assert Plan(halving=2).marks(8) == [0.125, 0.25, 0.5]
    assert Plan(halving=2).marks(1) == []
    assert Plan(halving=0).marks(8) == []
