"""A quantized base from the recipe to the merged folder: QLoRA as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from running import LORA, Material, curve, go

from tunesmith.errors import UserError
from tunesmith.models.load import load_model
from tunesmith.models.quantized.linear import QuantizedLinear
from tunesmith.run import merge, train
from tunesmith.run.use import load, open_run


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


@pytest.mark.parametrize("kind", ["nf4-double", "int8"])
def test_trains_proves_loads_and_merges(kind: str, material: Material, tmp_path: Path) -> None:
    recipe = material.recipe(method=LORA, model={"quantize": kind}, steps=14)
    run = train(recipe, out=tmp_path / "run")
    assert all(proof["passed"] is not False for proof in run.read("proof.json")["proofs"])
    losses = curve(run.folder)
    assert losses[-1] < losses[0] - 0.2
    model = load(run)
    assert sum(isinstance(module, QuantizedLinear) for module in model.modules()) == 14
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        packed = model(input_ids=ids).logits
    merge(run.folder, tmp_path / "plain")
    plain = load_model(str(tmp_path / "plain"))
    assert not any(isinstance(module, QuantizedLinear) for module in plain.modules())
    with torch.no_grad():
        torch.testing.assert_close(plain(input_ids=ids).logits, packed, atol=1e-4, rtol=1e-4)


def test_a_run_that_is_asked_has_unpacked_its_base_once(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = go(material.recipe(method=LORA, model={"quantize": "nf4"}, steps=1), tmp_path / "run")
    layers = [module for module in open_run(run).model.modules() if isinstance(module, QuantizedLinear)]
    assert layers
    assert all(layer.kept is not None for layer in layers)
    monkeypatch.setattr("tunesmith.run.use.dense_room", lambda _: 1)
    tight = [module for module in open_run(run).model.modules() if isinstance(module, QuantizedLinear)]
    assert all(layer.kept is None for layer in tight)


def test_resuming_packs_the_same_weights(material: Material, tmp_path: Path) -> None:
    recipe = material.recipe(method=LORA, model={"quantize": "nf4"}, steps=2)
    run = go(recipe, tmp_path / "run")
    one, two = (open_run(run).model.state_dict() for _ in range(2))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("model", "method", "code"),
    [
        ({"quantize": "nf5"}, LORA, "unknown-quantization"),
        ({"quantize": "nf4"}, "full", "quantized-base"),
    ],
)
def test_what_cannot_be_is_refused(
    model: dict[str, str], method: str, code: str, material: Material, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        go(material.recipe(method=method, model=model, steps=2), tmp_path / "run")
    assert caught.value.code == code


def test_forgetting_is_told_on_the_dense_base_s_text_whatever_seed_and_format(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs with another seed, or on a packed base, are judged on the same sequences, so they can be compared."""
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    seen = []
    for name, model, seed in (("packed", {"quantize": "nf4"}, 1), ("dense", {}, 2)):
        recipe = material.recipe(method=LORA, model=model, steps=1).model_copy(
            update={"retention": "auto", "seed": seed}
        )
        run = go(recipe, tmp_path / name)
        seen.append(run.read("eval/after.json")["sums"]["retention"]["content"])
    assert seen[0] == seen[1]
    assert len(list((tmp_path / "cache" / "retention").iterdir())) == 1
