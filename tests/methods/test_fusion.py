"""AdapterFusion: its formula, its start, what it leaves alone, and a folder that needs no other."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

import tunesmith as ts
from families import tiny
from task_adapters import trained_adapters
from tiny_base import make_base
from tunesmith.errors import UserError
from tunesmith.interop.folders import attach_folder, stored_method
from tunesmith.interop.named import Adapters
from tunesmith.methods.adapter import Adapter
from tunesmith.methods.fusion import OFF_DIAGONAL, Fusion
from tunesmith.methods.lora import Lora

KINDS = ["houlsby", "pfeiffer", "parallel"]
IDS = torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def values(attached: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach() for group in attached.groups() for name, value in group.parameters.items()}


def shaken(attached: Any) -> Any:
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for value in values(attached).values():
            value.add_(torch.randn(value.shape, generator=generator) * 0.2)
    return attached


def test_one_layer_is_the_papers_formula_in_float64() -> None:
    """Row by row and adapter by adapter: keys and values of each, softmax, weighted sum."""
    attached = shaken(Fusion(adapters=trained_adapters("llama")).attach(tiny("llama"))).model
    layer = attached.double().model.layers[1].mlp.down_proj
    inputs = torch.randn(2, 3, 96, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = layer.base_layer(inputs)
    wanted = torch.empty_like(y)
    for place in [(row, column) for row in range(2) for column in range(3)]:
        z = [adapter(y[place][None])[0] for adapter in layer.adapters]
        scores = torch.stack([(layer.query @ y[place]) @ (layer.key @ one) for one in z])
        share = torch.exp(scores) / torch.exp(scores).sum()
        wanted[place] = y[place] + sum(a * (layer.value @ one) for a, one in zip(share, z, strict=True))
    torch.testing.assert_close(layer(inputs), wanted, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_it_starts_as_the_mean_of_its_adapters_not_as_the_base(family: str, kind: str) -> None:
    folders = trained_adapters(family, kind)
    model = tiny(family)
    attached = Fusion(adapters=folders).attach(model)
    assert not attached.identity
    single = [attach_folder(tiny(family), Path(folder)) for folder in folders]
    mean = tiny(family)
    for path, layer in attached.ends.items():
        ends = [one.layers[path] for one in single]
        source = {} if kind == "parallel" else None
        if source is not None:  # the input of the MLP, at its first linear
            start = next(
                name for name, other in attached.layers.items() if getattr(other, "handover", 0) is layer.source
            )
            mean.get_submodule(start).register_forward_pre_hook(lambda _, args, kept=source: kept.update(x=args[0]))
        mean.get_submodule(path).register_forward_hook(
            lambda _, __, y, ends=ends, kept=source: y + sum(e.adapter(kept["x"] if kept else y) for e in ends) / 2
        )
    assert not torch.allclose(logits(mean), logits(tiny(family)), atol=1e-2)
    # the value matrix is 1e-6 beside its diagonal; float32 sums in another order
    torch.testing.assert_close(logits(model), logits(mean), atol=5e-4, rtol=1e-4)


def test_the_value_matrix_starts_as_in_the_paper_and_is_drawn_back() -> None:
    attached = Fusion(adapters=trained_adapters("llama"), regularisation=0.5).attach(tiny("llama"))
    for layer in attached.ends.values():
        assert torch.equal(layer.value.diagonal(), torch.ones(64))
        off = layer.value - torch.diag(layer.value.diagonal())
        assert float(off.abs().max()) == pytest.approx(OFF_DIAGONAL)
    with torch.no_grad():
        for layer in attached.ends.values():
            layer.value[0, 0], layer.value[1, 2] = 3.0, -1.0
    penalty = attached.penalty()
    assert penalty is not None
    # two layers: 0.5 · 2 · ((3 - 1)² + 1²)
    assert float(penalty.detach()) == pytest.approx(5.0, rel=1e-6)
    penalty.backward()
    # d/dv of 0.5 · (v - 1)² · … at 3, and of 0.5 · v² at -1
    assert float(layer.value.grad[0, 0]) == pytest.approx(2.0)
    assert float(layer.value.grad[1, 2]) == pytest.approx(-1.0)
    decayed = {name.split(".")[-2] for group in attached.groups() if group.decay for name in group.parameters}
    assert decayed == {"query", "key"}, "decay would draw the values to zero instead"
    assert Fusion(adapters=trained_adapters("llama"), regularisation=0).attach(tiny("llama")).penalty() is None


def test_the_adapters_are_finished() -> None:
    """They have no gradients, no dropout while training, and are read exactly."""
    model = tiny("llama")
    attached = Fusion(adapters=trained_adapters("llama")).attach(model)
    for index, folder in enumerate(trained_adapters("llama")):
        own = values(attach_folder(tiny("llama"), Path(folder)))
        assert own.keys() == attached.frozen(index).keys()
        assert all(torch.equal(value, own[name]) for name, value in attached.frozen(index).items())
        assert not any(value.requires_grad for value in attached.frozen(index).values())
    model.train()
    modules = [module for module in model.modules() if type(module).__name__ == "Bottleneck"]
    assert len(modules) == 4
    assert not any(module.training for module in modules)


def test_attention_is_even_at_first_and_goes_where_the_right_adapter_is() -> None:
    """Of two adapters, one made the targets: training the fusion turns its attention to that one."""
    folders = trained_adapters("llama")
    with torch.no_grad():
        taught = attach_folder(tiny("llama"), Path(folders[1])).model(input_ids=IDS).logits.softmax(-1)
    model = tiny("llama")
    attached = Fusion(adapters=folders, regularisation=0.0).attach(model)
    even = attached.attention(lambda: model(input_ids=IDS))
    assert list(even) == list(attached.ends)
    names = list(even["model.layers.0.mlp.down_proj"])
    assert names == [Path(folder).name for folder in folders]
    assert all(share == pytest.approx(0.5, abs=1e-6) for shares in even.values() for share in shares.values())
    optimizer = torch.optim.Adam(
        (layer_parameter for layer in attached.ends.values() for layer_parameter in (layer.query, layer.key)), lr=3e-3
    )
    for _ in range(40):
        functional.cross_entropy(model(input_ids=IDS).logits.flatten(0, 1), taught.flatten(0, 1)).backward()
        optimizer.step()
        optimizer.zero_grad()
    learned = attached.attention(lambda: model(input_ids=IDS))
    assert all(sum(shares.values()) == pytest.approx(1.0, abs=1e-6) for shares in learned.values())
    assert all(shares[names[1]] > 0.8 for shares in learned.values()), learned
    assert all(layer.watch is None for layer in attached.ends.values())


def test_its_folder_needs_no_other(tmp_path: Path) -> None:
    copies = [shutil.copytree(folder, tmp_path / Path(folder).name) for folder in trained_adapters("llama")]
    model = tiny("llama")
    attached = shaken(Fusion(adapters=[str(path) for path in copies], regularisation=0.3).attach(model))
    attached.save(tmp_path / "fused", values(attached))
    for path in copies:
        shutil.rmtree(path)
    fresh = tiny("llama")
    again = attach_folder(fresh, tmp_path / "fused")
    assert torch.equal(logits(fresh), logits(model))
    assert again.names == attached.names
    assert again.config.regularisation == 0.3
    other = stored_method(tmp_path / "fused").attach(tiny("llama"))
    assert all(torch.equal(value, other.frozen(0)[name]) for name, value in attached.frozen(0).items())


def test_it_shares_a_model_with_other_adapters(tmp_path: Path) -> None:
    model = tiny("llama")
    base = logits(model)
    adapters = Adapters(model)
    adapters.add("all", Fusion(adapters=trained_adapters("llama")))
    shaken(adapters["all"])
    fused = logits(model)
    adapters.save("all", tmp_path)
    adapters.add("style", Lora(rank=2))
    assert torch.equal(logits(model), base)
    adapters.load("again", tmp_path)
    assert torch.equal(logits(model), fused)
    adapters.set()
    assert torch.equal(logits(model), base)


def test_run_folders_and_names_that_are_the_same(tmp_path: Path) -> None:
    first, second = trained_adapters("llama")
    run = tmp_path / "law"
    shutil.copytree(first, run / "adapter")
    (run / "recipe.yaml").write_text("name: law\n")
    other = shutil.copytree(second, tmp_path / "other" / "law")
    attached = Fusion(adapters=[str(run), str(other)]).attach(tiny("llama"))
    assert attached.names == ["law-1", "law-2"]
    attached.save(tmp_path / "fused", values(attached))
    more = Fusion(adapters=[str(tmp_path / "fused"), second]).attach(tiny("llama"))
    assert more.names == ["law-1", "law-2", Path(second).name]


def test_what_does_not_fit_together_is_refused_and_leaves_the_model_alone(tmp_path: Path) -> None:
    first, second = trained_adapters("llama")
    lora = Lora(rank=2).attach(tiny("llama"))
    lora.save(tmp_path / "lora", values(lora))
    beside = trained_adapters("llama", "parallel")[0]
    for folders, code, said in [
        ([], "too-few-adapters", "at least two"),
        ([first], "too-few-adapters", "got 1"),
        ([first, str(tmp_path / "lora")], "unsupported-adapter", "got LORA"),
        ([first, beside], "adapter-mismatch", "kind parallel and kind pfeiffer"),
        ([first, str(tmp_path / "none")], "not-an-adapter", "no such folder"),
        ([first, second, trained_adapters("gpt2")[0]], "adapter-mismatch", "does not fit this model"),
    ]:
        model = tiny("llama")
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(UserError, match=said) as caught:
            Fusion(adapters=folders).attach(model)
        assert caught.value.code == code
        assert model.state_dict().keys() == before.keys()
        Adapter().attach(model)


@pytest.mark.slow
def test_a_run_is_whole_by_itself(tmp_path: Path) -> None:
    """Train two adapters, fuse them in a third run, and load it when the first two are gone."""
    base = make_base(tmp_path / "base")
    rows = [{"prompt": f"Count to {number}.", "completion": f"The river {number}"} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def run_of(name: str, method: Any) -> ts.Run:
        recipe = ts.Recipe(
            name=name,
            model={"base": str(base)},
            data={"train": [{"path": str(tmp_path / "rows.jsonl")}], "template": "plain", "max_tokens": 64},
            method=method,
            train={"steps": 3, "batch_size": 4},
        )
        return ts.train(recipe, out=tmp_path / name)

    for name, size in (("one", 3), ("two", 5)):
        run_of(name, Adapter(kind="houlsby", size=size))
    run = run_of("both", Fusion(adapters=[str(tmp_path / "one"), str(tmp_path / "two")]))
    assert run.proven

    def loaded() -> torch.Tensor:
        model: Any = ts.load(run)
        model.set_attn_implementation("sdpa")
        return logits(model)

    before = loaded()
    for name in ("one", "two"):
        shutil.rmtree(tmp_path / name)
    assert torch.equal(loaded(), before)
