"""The example of a method from outside: found by its entry point, and kept to the contract like any other."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from families import tiny
from tunesmith import registry
from tunesmith.errors import UserError
from tunesmith.methods import TABLE
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import Part
from tunesmith.registry import Table

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> Table:
    """The table as it is where the example is installed."""
    import tomllib

    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["tunesmith.methods"]
    found = [EntryPoint(name, value, "tunesmith.methods") for name, value in points.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: found if group == "tunesmith.methods" else [])
    monkeypatch.syspath_prepend(str(EXAMPLE / "src"))
    yield Table("method", TABLE.entries)
    sys.modules.pop("tunesmith_gains", None)


def test_it_is_found_and_trains(methods: Table, tmp_path: Path) -> None:
    assert "gains" in methods
    model: Any = tiny("llama")
    ids = torch.arange(3, 20)[None]
    before = model(input_ids=ids).logits.detach()
    attached = build(methods, Part(name="gains")).attach(model)
    (group,) = attached.groups()
    assert len(group.parameters) == 14
    optimizer = torch.optim.SGD(group.parameters.values(), lr=0.1)
    for _ in range(3):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    after = model(input_ids=ids).logits.detach()
    assert not torch.allclose(after, before, atol=1e-3)
    with attached.off():
        assert torch.equal(model(input_ids=ids).logits, before)
    attached.save(tmp_path, {name: value.detach() for name, value in group.parameters.items()})
    fresh = tiny("llama")
    build(methods, Part(name="gains")).attach(fresh).load(tmp_path)
    assert torch.equal(fresh(input_ids=ids).logits, after)
    torch.testing.assert_close(attached.merge()(input_ids=ids).logits, after, atol=1e-5, rtol=1e-5)


def test_a_plugin_cannot_take_an_own_name(methods: Table) -> None:
    assert methods.all["lora"] == TABLE.entries["lora"]


def test_a_typo_is_told_with_the_plugin_s_name(methods: Table) -> None:
    with pytest.raises(UserError) as caught:
        methods.load("gain")
    assert "gains" in str(caught.value)
