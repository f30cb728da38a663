"""Several adapters on one model: alone, together, one after the other, from a base that never changes."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest
import test_contract as contract
import torch
from torch.nn import functional

import tunesmith as ts
from families import tiny
from tunesmith.errors import UserError
from tunesmith.interop import named

IDS = torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def trained(adapters: ts.Adapters, steps: int = 3) -> torch.Tensor:
    """A few updates of the one that is trained; the logits after them."""
    optimizer = torch.optim.SGD(adapters.trained_parameters(), lr=0.3)
    for _ in range(steps):
        out = adapters.model(input_ids=IDS).logits
        functional.cross_entropy(out[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return logits(adapters.model)


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


METHODS = {
    "lora": ts.Lora(rank=4),
    "biased": ts.Lora(rank=2, targets="attention", bias="all"),
    "bottleneck": ts.Adapter(kind="houlsby", reduction=4),
    "beside": ts.Adapter(kind="parallel", reduction=4),
}


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_trained_one_after_the_other_each_is_what_it_is_on_a_fresh_model(family: str) -> None:
    model = tiny(family)
    base, weights = logits(model), state(model)
    adapters = ts.Adapters(model)
    after = {}
    for seed, (name, method) in enumerate(METHODS.items()):
        torch.manual_seed(seed)
        adapters.add(name, method)
        after[name] = trained(adapters)
    for seed, (name, method) in enumerate(METHODS.items()):
        alone = ts.Adapters(tiny(family))
        torch.manual_seed(seed)
        alone.add(name, method)
        assert torch.equal(trained(alone), after[name]), f"{name} was trained on the base and nothing else"
        adapters.set(name)
        assert torch.equal(logits(model), after[name])
    adapters.set()
    assert torch.equal(logits(model), base)
    assert state(model).keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_two_loras_are_the_sum_of_their_updates() -> None:
    model = tiny("llama")
    weights = state(model)
    adapters = ts.Adapters(model)
    changed = dict(weights)
    for name, method in {"one": ts.Lora(rank=4), "two": ts.Lora(rank=2, alpha=7, targets="attention")}.items():
        attached = adapters.add(name, method)
        trained(adapters)
        for path, layer in attached.layers.items():
            changed[f"{path}.weight"] = changed[f"{path}.weight"] + layer.delta()
    wanted = tiny("llama")
    wanted.load_state_dict(changed)
    for order in (("one", "two"), ("two", "one")):
        adapters.set(*order)
        assert adapters.active == order
        # float32 sums in another order; logits are up to a few units
        torch.testing.assert_close(logits(model), logits(wanted), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["houlsby", "pfeiffer", "parallel"])
@pytest.mark.parametrize("outer", ["lora", "bottleneck"])
def test_a_lora_and_a_bottleneck_nest_either_way(kind: str, outer: str) -> None:
    """With the bottleneck outside, it reads what the LoRA has changed: the LoRA merged into the base says how."""
    model = tiny("llama")
    adapters = ts.Adapters(model)
    adapters.add("lora", ts.Lora(rank=4, targets=["o_proj", "down_proj", "gate_proj"]))
    trained(adapters)
    torch.manual_seed(3)
    adapters.add("bottleneck", ts.Adapter(kind=kind, reduction=4))
    trained(adapters)
    inner = "lora" if outer == "bottleneck" else "bottleneck"
    adapters.set(inner, outer)
    both = logits(model)

    plain = tiny("llama")
    again = ts.Adapters(plain)
    for name, method in {
        "lora": ts.Lora(rank=4, targets=["o_proj", "down_proj", "gate_proj"]),
        "bottleneck": ts.Adapter(kind=kind, reduction=4),
    }.items():
        attached = again.add(name, method)
        for mine, theirs in zip(attached.groups(), adapters[name].groups(), strict=True):
            for key, value in mine.parameters.items():
                value.data.copy_(theirs.parameters[key].data)
    if outer == "bottleneck":
        again.remove("bottleneck")
        merged = again.merge("lora")
        attached = ts.attach(merged, ts.Adapter(kind=kind, reduction=4))
        for mine, theirs in zip(attached.groups(), adapters["bottleneck"].groups(), strict=True):
            for key, value in mine.parameters.items():
                value.data.copy_(theirs.parameters[key].data)
        torch.testing.assert_close(both, logits(merged), atol=2e-5, rtol=1e-5)
    else:  # the update of the LoRA is added after the bottleneck, unseen by it
        again.set("bottleneck")
        for path, layer in again["lora"].layers.items():
            update = layer.delta()
            plain.get_submodule(path).register_forward_hook(lambda _, args, y, update=update: y + args[0] @ update.T)
        torch.testing.assert_close(both, logits(plain), atol=2e-5, rtol=1e-5)


def test_only_the_trained_one_has_gradients_and_moves() -> None:
    model = tiny("gpt2")
    adapters = ts.Adapters(model)
    for name in ("lora", "bottleneck", "beside"):
        adapters.add(name, METHODS[name])
        trained(adapters)
    adapters.set("lora", "bottleneck", "beside", train="bottleneck")
    mine = {id(value) for value in adapters.trained_parameters()}
    assert {id(value) for value in model.parameters() if value.requires_grad} == mine
    before = state(model)
    model(input_ids=IDS).logits.square().sum().backward()
    assert {id(value) for value in model.parameters() if value.grad is not None} == mine
    model.zero_grad()
    trained(adapters)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(".adapter." in name for name in moved)
    adapters.set("lora", "bottleneck", "beside")
    assert not adapters.trained_parameters()
    assert not logits(model).requires_grad
    assert not any(value.requires_grad for value in model.parameters())


def test_a_bias_of_the_base_is_left_alone_by_the_next_adapter() -> None:
    model = tiny("gpt2")
    base = state(model)
    adapters = ts.Adapters(model)
    adapters.add("biased", METHODS["biased"])
    trained(adapters)
    adapters.add("lora", METHODS["lora"])
    trained(adapters)
    adapters.set()
    assert all(torch.equal(value, base[name]) for name, value in model.state_dict().items())
    with pytest.raises(UserError, match="biased and other") as caught:
        adapters.add("other", METHODS["biased"])
        adapters.set("biased", "other")
    assert caught.value.code == "same-parameters"


def test_use_gives_back_what_was() -> None:
    model = tiny("llama")
    base = logits(model)
    adapters = ts.Adapters(model)
    adapters.add("one", METHODS["lora"])
    trained(adapters)
    adapters.add("two", METHODS["bottleneck"])
    trained(adapters)
    adapters.set("one", "two", train="two")
    both = logits(model)
    with adapters.use():
        assert torch.equal(logits(model), base)
        with adapters.use("one"):
            assert adapters.active == ("one",)
            assert adapters.train is None
        assert adapters.active == ()
    assert torch.equal(logits(model), both)
    assert adapters.train == "two"
    assert all(value.requires_grad for value in adapters.trained_parameters())
    with pytest.raises(ZeroDivisionError), adapters.use("one"):
        _ = 1 / 0
    assert adapters.active == ("one", "two")


def test_dropout_follows_the_model_also_for_one_that_was_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    adapters = ts.Adapters(model)
    adapters.add("one", ts.Lora(rank=4, dropout=0.5))
    trained(adapters)
    adapters.add("two", ts.Adapter(dropout=0.5, reduction=2))
    trained(adapters)
    model.train()
    adapters.set("one")
    assert not torch.equal(logits(model), logits(model))
    model.eval()
    adapters.set("two")
    assert torch.equal(logits(model), logits(model))


@pytest.mark.parametrize("name", METHODS)
def test_stored_and_read_again(name: str, tmp_path: Path) -> None:
    adapters = ts.Adapters(tiny("gpt2"))
    adapters.add(name, METHODS[name])
    wanted = trained(adapters)
    adapters.add("other", ts.Lora(rank=1))
    adapters.save(name, tmp_path)
    assert adapters.active == ("other",)
    assert adapters.train == "other"
    fresh = ts.Adapters(tiny("gpt2"))
    fresh.load("again", tmp_path)
    assert (fresh.active, fresh.train) == (("again",), None)
    assert torch.equal(logits(fresh.model), wanted)
    fresh.load("told", tmp_path, method=METHODS[name])
    assert torch.equal(logits(fresh.model), wanted)
    fresh.set("again", train="again")
    trained(fresh)


def test_heads_go_with_their_adapter(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=320, **small)).eval()
    head, adapters, after = model.classifier.weight.clone(), ts.Adapters(model), {}
    labels = {"one": torch.tensor([0, 1]), "two": torch.tensor([1, 0])}
    for name, label in labels.items():
        adapters.add(name, ts.Adapter(), heads=["classifier"])
        optimizer = torch.optim.SGD(adapters.trained_parameters(), lr=0.5)
        for _ in range(3):
            model(input_ids=IDS, labels=label).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        after[name] = (logits(model), model.classifier.weight.clone())
    for name, (wanted, own) in after.items():
        adapters.set(name)
        assert torch.equal(model.classifier.weight, own)
        assert torch.equal(logits(model), wanted)
        adapters.save(name, tmp_path / name)
    adapters.set()
    assert torch.equal(model.classifier.weight, head)
    adapters.load("three", tmp_path / "one")
    assert torch.equal(logits(model), after["one"][0])


def test_merge_is_the_adapter_for_good() -> None:
    model = tiny("llama")
    names = list(model.state_dict())
    adapters = ts.Adapters(model)
    adapters.add("one", METHODS["lora"])
    wanted = trained(adapters)
    adapters.add("two", METHODS["bottleneck"])
    with pytest.raises(UserError, match="also here: two") as caught:
        adapters.merge("one")
    assert caught.value.code == "cannot-merge"
    adapters.remove("two")
    assert adapters.active == ()
    merged = adapters.merge("one")
    assert list(merged.state_dict()) == names
    torch.testing.assert_close(logits(merged), wanted, atol=1e-5, rtol=1e-5)
    assert adapters.names == ()
    adapters.add("three", METHODS["bottleneck"])
    with pytest.raises(UserError, match="cannot be merged"):
        adapters.merge("three")


def test_removing_one_leaves_the_others() -> None:
    adapters = ts.Adapters(tiny("llama"))
    adapters.add("one", METHODS["lora"])
    one = trained(adapters)
    adapters.add("two", METHODS["bottleneck"])
    trained(adapters)
    adapters.set("two", "one", train="one")
    adapters.remove("two")
    assert (adapters.active, adapters.train, adapters.names) == (("one",), "one", ("one",))
    assert torch.equal(logits(adapters.model), one)
    adapters.remove("one")
    assert (adapters.active, adapters.train, adapters.names) == ((), None, ())


def test_mistakes() -> None:
    adapters = ts.Adapters(tiny("llama"))
    with pytest.raises(UserError, match="none yet"):
        adapters.set("german")
    adapters.add("german", METHODS["lora"])
    trained(adapters)
    before = logits(adapters.model)
    for mistake, code, said in [
        (lambda: adapters.set("germn"), "unknown-adapter", "Did you mean 'german'?"),
        (lambda: adapters.save("law", "/nowhere"), "unknown-adapter", "got 'law'; allowed: german"),
        (lambda: adapters.set("german", "german"), "named-twice", "german"),
        (lambda: adapters.set(train="german"), "not-active", "only an active adapter"),
        (lambda: adapters.add("german", METHODS["lora"]), "name-taken", "'german'"),
        (lambda: adapters.add("full", ts.Full()), "cannot-share", "AttachedWhole"),
        (lambda: adapters.add("named", "lorra"), "unknown-method", "Did you mean 'lora'?"),
        (lambda: adapters.add("wrong", ts.Lora(targets=["q_prj"])), "unknown-target", "q_proj"),
        (lambda: adapters.load("none", "/nowhere"), "not-an-adapter", "no such folder"),
    ]:
        with pytest.raises(UserError) as caught:
            mistake()
        assert caught.value.code == code
        assert said in str(caught.value)
        assert (adapters.active, adapters.train, adapters.names) == (("german",), "german", ("german",))
        assert torch.equal(logits(adapters.model), before)
        mine = {id(value) for value in adapters.trained_parameters()}
        assert {id(value) for value in adapters.model.parameters() if value.requires_grad} == mine


@pytest.mark.parametrize("name", ["lora", "bottleneck"])
def test_a_folder_that_does_not_fit_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    other = ts.Adapters(tiny("gpt2"))
    other.add(name, METHODS[name])
    other.save(name, tmp_path)
    adapters = ts.Adapters(tiny("llama"))
    adapters.add("mine", METHODS["lora"])
    mine = trained(adapters)
    with pytest.raises(UserError) as caught:
        adapters.load("theirs", tmp_path)
    assert caught.value.code == "adapter-mismatch"
    assert adapters.names == ("mine",)
    assert torch.equal(logits(adapters.model), mine)


CANNOT_SHARE = {
    "full": "trains the base",
    "freeze": "trains the base",
    "peft": "PEFT holds the model in a wrapper of its own",
}


@pytest.mark.parametrize("name", contract.ROWS)
def test_every_method_shares_a_model_or_is_refused(name: str) -> None:
    model = tiny("llama")
    base, weights = logits(model), state(model)
    adapters = ts.Adapters(model)
    adapters.add("other", ts.Lora(rank=2, targets="mlp"))
    other = trained(adapters)
    method = contract.method_for(contract.ROWS[name][0], "llama")
    if name in CANNOT_SHARE:
        with pytest.raises(UserError) as caught:
            adapters.add("mine", method)
        assert caught.value.code == "cannot-share"
        assert torch.equal(logits(model), other)
    else:
        adapters.add("mine", method)
        mine = trained(adapters)
        adapters.set("other", "mine", train="mine")
        required = {id(value) for value in model.parameters() if value.requires_grad}
        assert required == {id(value) for value in adapters.trained_parameters()}
        adapters.set("mine")
        assert torch.equal(logits(model), mine)
        adapters.set("other")
        assert torch.equal(logits(model), other)
    adapters.set()
    assert torch.equal(logits(model), base)
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_a_method_that_packs_the_base_is_refused_and_the_base_comes_back() -> None:
    model = tiny("llama")
    base, weights = logits(model), state(model)
    adapters = ts.Adapters(model)
    with pytest.raises(UserError, match="changes the base itself") as caught:
        adapters.add("packed", ts.Lora(rank=2, init="loftq"))
    assert caught.value.code == "cannot-share"
    assert torch.equal(logits(model), base)
    assert model.state_dict().keys() == weights.keys()


def test_the_example_runs(tmp_path: Path) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(
        named,
        globs={
            "model": tiny("llama"),
            "batch": {"input_ids": IDS},
            "folder": tmp_path / "german",
            "torch": torch,
            **{name: getattr(ts, name) for name in ("Adapters", "Adapter", "Lora")},
        },
    )
    assert doctest.DocTestRunner().run(example).failed == 0
    assert (tmp_path / "german" / "adapter_config.json").is_file()
