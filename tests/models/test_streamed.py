"""A base packed while it is read: the same bytes as packed afterwards, one weight in memory at a time, read whole."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from families import tiny
from tunesmith.errors import UserError
from tunesmith.models.load import load_model, load_task_model, skeleton, streamable
from tunesmith.models.quantized import streamed
from tunesmith.models.quantized.linear import QuantizedLinear
from tunesmith.models.quantized.model import Quantized, quantize_model
from tunesmith.models.stored import as_loaded, stored_tensors

FAMILIES = ["llama", "gpt2", "phi3", "gemma3"]


def folder_of(family: str, where: Path, **options: Any) -> str:
    model: Any = tiny(family)
    model.to(torch.bfloat16).save_pretrained(where / family, **options)
    return str(where / family)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Everything a model holds, non-persistent buffers as well."""
    return {**model.state_dict(), **dict(model.named_buffers())}


def assert_same(one: Any, other: Any) -> None:
    ours, theirs = state(one), state(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name].dtype != theirs[name].dtype] == []
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert [type(module) for module in one.modules()] == [type(module) for module in other.modules()]


@pytest.mark.parametrize("kind", ["nf4-double", "int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_model_packed_afterwards(family: str, kind: str, tmp_path: Path) -> None:
    base = folder_of(family, tmp_path)
    assert streamable(base)
    dense, packed = load_model(base), load_model(base, pack=kind)
    wanted = quantize_model(dense, kind)
    assert_same(packed, dense)
    assert packed.packed == wanted
    assert isinstance(packed.packed, Quantized)
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        assert torch.equal(packed(input_ids=ids).logits, dense(input_ids=ids).logits)


def test_transformers_knows_nothing_of_it(tmp_path: Path) -> None:
    base = folder_of("llama", tmp_path)
    dense, packed = load_model(base), load_model(base, pack="nf4")
    assert packed.config.to_dict() == dense.config.to_dict()
    assert packed.generation_config.to_dict() == dense.generation_config.to_dict()
    assert packed.name_or_path == dense.name_or_path
    assert not getattr(packed, "is_quantized", False)
    assert not hasattr(packed, "hf_quantizer")
    assert not packed.training


def test_shards_are_read_like_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    whole = folder_of("llama", tmp_path)
    parts = folder_of("llama", tmp_path / "parts", max_shard_size="40KB")
    assert (Path(parts) / "model.safetensors.index.json").is_file()
    assert_same(load_model(parts, pack="nf4"), load_model(whole, pack="nf4"))


def test_a_classifier_is_packed_as_well(tmp_path: Path) -> None:
    from tunesmith.contracts.objective import TaskHead

    base, task = folder_of("llama", tmp_path), TaskHead("class", ("no", "yes"))
    torch.manual_seed(3)
    dense = load_task_model(base, task)
    torch.manual_seed(3)
    packed = load_task_model(base, task, pack="nf4")
    quantize_model(dense.model, "nf4")
    assert packed.heads == dense.heads == ["score"]
    assert_same(packed.model, dense.model)


def test_one_weight_is_dense_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, alive, most = folder_of("llama", tmp_path), [], []
    pack = streamed.Packer.pack

    def counting(self: Any, model: nn.Module, path: str, weight: torch.Tensor) -> None:
        alive.append(weakref.ref(weight.untyped_storage()))
        most.append(sum(reference() is not None for reference in alive))
        pack(self, model, path, weight)

    monkeypatch.setattr(streamed.Packer, "pack", counting)
    load_model(base, pack="nf4")
    assert len(most) == 14
    assert max(most) == 1


def test_an_unknown_format_is_told_as_usual(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_model(folder_of("llama", tmp_path), pack="nf5")
    assert caught.value.code == "unknown-quantization"


def test_what_is_stored_is_what_is_loaded(tmp_path: Path) -> None:
    base = folder_of("llama", tmp_path)
    found = as_loaded(skeleton(base), stored_tensors(Path(base)) or {})
    loaded = load_model(base).state_dict()
    assert found is not None
    assert list(found) == list(loaded)
    assert all(torch.equal(found[name][...], tensor) for name, tensor in loaded.items())


def test_other_names_shapes_and_dtypes_are_not_what_is_loaded(tmp_path: Path) -> None:
    base = folder_of("llama", tmp_path)
    tensors = stored_tensors(Path(base)) or {}
    first = "model.norm.weight"
    empty = skeleton(base)
    assert as_loaded(empty, {name: one for name, one in tensors.items() if name != first}) is None
    assert as_loaded(empty, {**tensors, "another": tensors[first]}) is None
    assert as_loaded(empty, {**tensors, first: tensors["model.embed_tokens.weight"]}) is None
    assert as_loaded(empty.float(), tensors) is None


def test_a_file_that_was_cut_off_is_told(tmp_path: Path) -> None:
    base = folder_of("llama", tmp_path)
    file = Path(base) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError) as caught:
        load_model(base, pack="nf4")
    assert caught.value.code == "model-not-loaded"


def test_a_packed_base_is_not_packed_again(tmp_path: Path) -> None:
    base = folder_of("llama", tmp_path)
    config = json.loads((Path(base) / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (Path(base) / "config.json").write_text(json.dumps(config))
    assert not streamable(base)


def test_a_layer_keeps_its_bias(tmp_path: Path) -> None:
    packed = load_model(folder_of("gpt2", tmp_path), pack="nf4")
    layers = [module for module in packed.modules() if isinstance(module, QuantizedLinear)]
    assert layers
    assert all(layer.bias is not None and not layer.bias.is_meta for layer in layers)
