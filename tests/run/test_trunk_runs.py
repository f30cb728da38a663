"""Whole runs with the frozen trunk kept: the curves of runs without, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from running import Material, StopAt, curve, evaluations, go, result

from tiny_base import make_base
from tunesmith.errors import UserError
from tunesmith.recipe import Recipe
from tunesmith.run import Run

TOP = {"name": "lora", "rank": 4, "alpha": 8, "layers": [1]}
OPTIONS = {"epochs": 3, "evaluate_every": 5}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("trunk"))


def trained(material: Material, folder: Path, cache: str, **options: Any) -> Run:
    method, model = options.pop("method", TOP), options.pop("model", {})
    recipe = material.recipe(method=method, model={"trunk_cache": cache, **model}, **{**OPTIONS, **options})
    return go(recipe, folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_curves_and_results_are_those_without(material: Material, tmp_path: Path, dtype: str) -> None:
    """Rows meet other rows in every epoch; at this size no product depends on how many rows there are."""
    runs = {
        name: trained(material, tmp_path / name, cache, model={"dtype": dtype})
        for name, cache in (("off", "off"), ("ram", "ram"), ("disk", "disk"), ("again", "disk"))
    }
    for name in ("ram", "disk", "again"):
        assert curve(runs[name].folder) == curve(runs["off"].folder)
        assert evaluations(runs[name].folder) == evaluations(runs["off"].folder)
        ours, wanted = result(runs[name].folder), result(runs["off"].folder)
        assert all(bool((ours[key] == wanted[key]).all()) for key in wanted)
    run = {name: (one.summary()["trunk_cache"] or {}).get("share_run") for name, one in runs.items()}
    # 5 evaluations and 3 epochs, of which the first reading of each row is computed
    assert run["ram"] == run["disk"] == pytest.approx((2681 + 286) / (3 * 2681 + 5 * 286), abs=1e-3)
    assert (run["off"], run["again"]) == (None, 0.0)
    assert runs["ram"].summary()["trunk_cache"]["layers"] == 1


def test_a_resumed_run_goes_on_as_it_would_have(material: Material, tmp_path: Path) -> None:
    recipe = material.recipe(method=TOP, model={"trunk_cache": "ram"}, **OPTIONS)
    whole = go(recipe, tmp_path / "whole")
    go(recipe, tmp_path / "stopped", sinks=(StopAt(9),))
    stopped = go(recipe, tmp_path / "stopped", resume=True)
    assert curve(stopped.folder) == curve(whole.folder)


def test_pairs_and_their_reference_share_it(tmp_path: Path) -> None:
    rows = tmp_path / "pairs.jsonl"
    texts = [{"question": f"Say {at}?", "chosen": f"It is {at}.", "rejected": "No idea."} for at in range(24)]
    rows.write_text("".join(json.dumps(text) + "\n" for text in texts))
    base = make_base(tmp_path / "base")

    def run(cache: str) -> Run:
        recipe = Recipe(
            model={"base": str(base), "dtype": "float32", "trunk_cache": cache},
            data={"train": [{"path": str(rows)}], "validation": 0.1, "max_tokens": 64, "workers": 1},
            method=TOP,
            objective="dpo",
            train={"epochs": 3, "batch_size": 8, "learning_rate": 2e-3, "early_stopping": None},
            evaluate={"prompts": 0, "before": False},
            retention="none",
        )
        return go(recipe, tmp_path / cache)

    # the second run finds what the first one's reference said, so both compare with the same
    off, ram = run("off"), run("ram")
    assert curve(ram.folder) == pytest.approx(curve(off.folder), abs=1e-6)
    assert ram.summary()["trunk_cache"]["share_run"] < 0.5


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"method": "lora"}, "no-trunk"),
        ({"model": {"driver": "padded"}}, "trunk-not-kept"),
    ],
)
def test_what_cannot_be_kept_is_refused(material: Material, tmp_path: Path, options: Any, code: str) -> None:
    with pytest.raises(UserError) as refused:
        trained(material, tmp_path / "run", "ram", **options)
    assert refused.value.code == code


def test_sampled_answers_are_refused_before_anything_is_loaded(material: Material, tmp_path: Path) -> None:
    recipe = material.recipe(method=TOP, model={"trunk_cache": "ram", "base": "/nowhere"})
    objective = {"name": "grpo", "rewards": [{"name": "length"}]}
    with pytest.raises(UserError, match="never come again"):
        go(Recipe.model_validate(recipe.model_dump() | {"objective": objective}), tmp_path / "run")


def test_noise_of_an_addon_is_seen(material: Material, tmp_path: Path) -> None:
    recipe = material.recipe(method=TOP, model={"trunk_cache": "ram"})
    with pytest.raises(UserError) as refused:
        go(Recipe.model_validate(recipe.model_dump() | {"addons": ["neftune"]}), tmp_path / "run")
    assert refused.value.code == "trunk-varies"
