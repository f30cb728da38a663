"""The contract of add-ons: one row each, and what every one promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from addon_setting import job, put, setting

from tunesmith.addons import TABLE
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import fit
from tunesmith.recipe import Recipe
from tunesmith.recipe.base import PartConfig

ROWS: dict[str, dict[str, Any]] = {
    "ewc": {"rows": 3},
    "l2": {},
    "kl": {},
    "replay": {},
    "r-drop": {},
    "neftune": {},
    "reptile": {"inner_steps": 2},
}
"""Options that make an add-on's test short; an add-on without a row fails."""
QUIET: dict[str, dict[str, Any]] = {
    "ewc": {"weight": 0.0, "rows": 3},
    "l2": {"weight": 0.0},
    "kl": {"weight": 0.0},
    "neftune": {"alpha": 1e-9},
}
"""Options with which an add-on changes nothing. The others change rows, or draw other dropout."""


def test_every_addon_has_a_row() -> None:
    assert set(ROWS) == set(TABLE)
    for name in TABLE:
        config = TABLE.load(name)
        assert issubclass(config, PartConfig)
        assert config.part_name() == name
        assert config.paper
        assert config.use


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_training_is_finite_and_moves(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    made = setting(tmp_path, dtype=dtype, dropout=name == "r-drop")
    before = {key: value.clone() for key, value in made.weights.values.items()}
    made, added = put(made, TABLE.load(name)(**ROWS[name]))
    progress = fit(job(made, added, tmp_path), Progress())
    assert progress.step == 4
    assert all(bool(value.isfinite().all()) for value in made.weights.values.values())
    assert any(not torch.equal(value, before[key]) for key, value in made.weights.values.items())


@pytest.mark.parametrize("name", QUIET)
def test_at_strength_zero_it_is_not_there(name: str, tmp_path: Path) -> None:
    made, added = put(setting(tmp_path / "a"), TABLE.load(name)(**QUIET[name]))
    fit(job(made, added, tmp_path / "a"), Progress())
    plain, none = put(setting(tmp_path / "b"))
    fit(job(plain, none, tmp_path / "b"), Progress())
    for key, value in plain.weights.values.items():
        assert torch.allclose(made.weights.values[key], value, atol=2e-5), key


def test_a_config_object_is_as_good_as_its_name_and_fields() -> None:
    given = Recipe(addons=[TABLE.load("ewc")(weight=2.0, data=["old.jsonl"]), "l2"])
    assert [one.name for one in given.addons] == ["ewc", "l2"]
    assert given.addons[0].fields["weight"] == 2.0
    assert given.addons[0].fields["data"][0]["path"] == "old.jsonl"
