"""Bottleneck adapters against the papers' formulas written with hooks, and wherever a model may put them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import tunesmith as ts
from families import tiny
from tunesmith.contracts.batch import Example
from tunesmith.data.collate import flatten
from tunesmith.errors import UserError
from tunesmith.methods.adapter import Adapter
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.quantized.model import dense_linear, quantize_model

KINDS = ["houlsby", "pfeiffer", "parallel"]
each_kind = pytest.mark.parametrize("kind", KINDS)
IDS = torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))


def shaken(attached: Any, size: float = 0.2) -> Any:
    """Every parameter away from its start."""
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for group in attached.groups():
            for name in sorted(group.parameters):
                value = group.parameters[name]
                value.add_(torch.randn(value.shape, generator=generator).to(value.dtype) * size)
    return attached


def values(attached: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach() for group in attached.groups() for name, value in group.parameters.items()}


def loss_of(model: Any) -> torch.Tensor:
    out = model(input_ids=IDS).logits
    return functional.cross_entropy(out[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())


ENDS = {
    "llama": ("model.layers.{}.self_attn.o_proj", "model.layers.{}.mlp.down_proj", "model.layers.{}.mlp"),
    "gpt2": ("transformer.h.{}.attn.c_proj", "transformer.h.{}.mlp.c_proj", "transformer.h.{}.mlp"),
    "bert": (
        "bert.encoder.layer.{}.attention.output.dense",
        "bert.encoder.layer.{}.output.dense",
        "bert.encoder.layer.{}.output",
    ),
}


def written_out(model: Any, family: str, kind: str, weights: dict[str, torch.Tensor]) -> None:
    """The method by forward hooks on an untouched model: ``out + s·(gelu(x Dᵀ + d) Uᵀ + u)``."""
    scale = 4.0 if kind == "parallel" else 1.0

    def z(path: str, x: torch.Tensor) -> torch.Tensor:
        D, d, U, u = (
            weights[f"base_model.model.{path}.adapter.{name}"]
            for name in ("down.weight", "down.bias", "up.weight", "up.bias")
        )
        return scale * (functional.gelu(x @ D.T + d) @ U.T + u)

    attention, end, whole = ENDS[family]
    for block in range(2):
        for place in (attention, end) if kind == "houlsby" else (end,) if kind == "pfeiffer" else ():
            path = place.format(block)
            model.get_submodule(path).register_forward_hook(lambda _, __, out, path=path: out + z(path, out))
        path = end.format(block)
        if kind == "parallel" and family == "bert":  # its end has the MLP's input as a second argument
            kept: dict[str, torch.Tensor] = {}
            output = model.get_submodule(whole.format(block))
            output.register_forward_pre_hook(lambda _, args, kept=kept: kept.update(x=args[1]))
            output.dense.register_forward_hook(lambda _, __, out, path=path, kept=kept: out + z(path, kept["x"]))
        elif kind == "parallel":
            mlp = model.get_submodule(whole.format(block))
            mlp.register_forward_hook(lambda _, args, out, path=path: out + z(path, args[0]))


@pytest.mark.parametrize("family", ENDS)
@each_kind
def test_values_and_gradients_are_those_of_the_formula_in_float64(kind: str, family: str) -> None:
    model = tiny(family).double()
    attached = shaken(Adapter(kind=kind, size=6, activation="gelu").attach(model))
    weights = {name: value.clone().requires_grad_() for name, value in values(attached).items()}
    plain = tiny(family).double()
    written_out(plain, family, kind, weights)
    got, wanted = loss_of(model), loss_of(plain)
    assert not torch.allclose(wanted, loss_of(tiny(family).double()), atol=1e-3), "the adapters change something"
    torch.testing.assert_close(got, wanted, atol=1e-12, rtol=1e-12)
    got.backward()
    wanted.backward()
    for group in attached.groups():
        for name, value in group.parameters.items():
            torch.testing.assert_close(value.grad, weights[name].grad, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(("name", "function"), [("relu", torch.relu), ("silu", functional.silu), ("tanh", torch.tanh)])
def test_activations_and_scale(name: Any, function: Any) -> None:
    layer = shaken(
        Adapter(targets=["1.mlp.down_proj"], size=3, activation=name, scale=0.3).attach(tiny("llama"))
    ).layers
    (end,) = layer.values()
    x = torch.randn(4, 96, generator=torch.Generator().manual_seed(1))
    y, a = end.base_layer(x), end.adapter
    wanted = y + 0.3 * (function(y @ a.down.T + a.down_bias) @ a.up.T + a.up_bias)
    torch.testing.assert_close(end(x), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "places", "inner"),
    [
        ({"kind": "houlsby"}, 4, 4),
        ({"kind": "pfeiffer", "reduction": 8}, 2, 8),
        ({"kind": "parallel", "size": 5, "reduction": 2}, 2, 5),
        ({"reduction": 1000}, 2, 1),
    ],
)
def test_size(options: dict[str, Any], places: int, inner: int) -> None:
    attached = Adapter(**options).attach(tiny("llama"))
    matrices, vectors = attached.groups()
    assert sum(p.numel() for p in matrices.parameters.values()) == places * 2 * 64 * inner
    assert sum(p.numel() for p in vectors.parameters.values()) == places * (64 + inner)
    assert matrices.decay
    assert not vectors.decay


@each_kind
def test_recomputed_activations_give_the_same_gradients(kind: str) -> None:
    def gradients(*, recompute: bool) -> dict[str, torch.Tensor]:
        model = tiny("llama")
        attached = shaken(Adapter(kind=kind, reduction=4, dropout=0.3).attach(model))
        model.train()
        if recompute:
            model.activation_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(5)
        for _ in range(2):
            loss_of(model).backward()
        return {name: value.grad for group in attached.groups() for name, value in group.parameters.items()}

    plain, recomputed = gradients(recompute=False), gradients(recompute=True)
    assert all(torch.equal(plain[name], recomputed[name]) for name in plain)
    assert all(value.any() for value in plain.values())


@each_kind
@pytest.mark.parametrize("driver", ["flat", "padded"])
def test_packed_sequences_are_those_alone(kind: str, driver: Any) -> None:
    model = tiny("llama")
    shaken(Adapter(kind=kind, reduction=4).attach(model))
    generator = np.random.default_rng(0)
    rows = [
        Example(generator.integers(3, 320, length).astype(np.int32), np.ones(length, bool), row)
        for row, length in enumerate((13, 1, 9))
    ]
    with torch.no_grad():
        alone = torch.cat([model(input_ids=torch.tensor(row.ids).long()[None]).logits[0] for row in rows])
        policy = CausalPolicy(model, driver)
        packed = policy.logits(policy.hidden(flatten(rows).main))
    # float32 sums in another order; logits are up to a few units
    torch.testing.assert_close(packed, alone, atol=2e-5, rtol=1e-5)


@each_kind
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_on_a_quantized_base_it_is_that_on_the_rounded_weights(kind: str, quantization: str, family: str) -> None:
    packed = tiny(family)
    quantize_model(packed, quantization)
    rounded = copy.deepcopy(packed)
    for path, module in list(rounded.named_modules()):
        if type(module).__name__ == "QuantizedLinear":
            parent, _, name = path.rpartition(".")
            setattr(rounded.get_submodule(parent), name, dense_linear(module))
    results = []
    for model in (packed, rounded):
        torch.manual_seed(3)
        attached = shaken(Adapter(kind=kind, reduction=4).attach(model))
        loss = loss_of(model)
        loss.backward()
        results.append([loss.detach(), *(p.grad for group in attached.groups() for p in group.parameters.values())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@each_kind
def test_generation_with_a_cache_is_that_without(kind: str) -> None:
    model = tiny("llama")
    shaken(Adapter(kind=kind, reduction=4).attach(model))
    asked = {"input_ids": IDS[:1], "max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    with_cache, without = (model.generate(**asked, use_cache=cached) for cached in (True, False))
    assert torch.equal(with_cache, without)


def test_autocast_trains() -> None:
    model = tiny("llama")
    attached = shaken(Adapter(kind="houlsby").attach(model))
    exact = loss_of(model)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(exact.detach()), rel=0.02)
    assert all(p.grad.isfinite().all() for group in attached.groups() for p in group.parameters.values())


def test_nothing_of_a_step_is_held_after_it() -> None:
    model = tiny("llama")
    attached = Adapter(kind="parallel").attach(model)
    loss_of(model).backward()
    starts = [layer for layer in attached.layers.values() if hasattr(layer, "handover")]
    assert len(starts) == 2
    for start in starts:
        with pytest.raises(AssertionError, match="ran before"):
            start.handover.take()


def test_another_kind_is_refused_at_load_and_a_folder_says_what_it_is(tmp_path: Path) -> None:
    attached = shaken(Adapter(kind="pfeiffer", size=4).attach(tiny("llama")))
    attached.save(tmp_path, values(attached))
    with pytest.raises(UserError, match=r"another kind; got pfeiffer; allowed: parallel") as caught:
        Adapter(kind="parallel", size=4).attach(tiny("llama")).load(tmp_path)
    assert caught.value.code == "adapter-mismatch"
    assert '"peft_type": "ADAPTER"' in (tmp_path / "adapter_config.json").read_text()


def test_a_mixture_of_experts_is_refused_by_the_names_of_its_experts() -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = MixtralForCausalLM(MixtralConfig(vocab_size=320, num_key_value_heads=2, num_local_experts=4, **small))
    with pytest.raises(UserError, match=r"model\.layers\.0\.mlp\.experts\.gate_up_proj") as caught:
        Adapter().attach(model)
    assert caught.value.code == "fused-experts"
    Adapter(targets=["o_proj"]).attach(model)
    loss_of(model).backward()


def test_a_list_does_not_say_both_ends() -> None:
    with pytest.raises(UserError, match="both ends"):
        Adapter(kind="parallel", targets=["down_proj"]).attach(tiny("llama"))


# loops of one's own, on models that are no causal language models


def louder(model: Any) -> Any:
    """A random model whose head tells its inputs apart, as a pretrained one does."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and name != "shared.weight":
                parameter.mul_(4.0)
    return model.eval()


def t5() -> tuple[Any, dict[str, torch.Tensor]]:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    small = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    config = T5Config(vocab_size=320, dropout_rate=0.0, decoder_start_token_id=0, **small)
    return louder(T5ForConditionalGeneration(config)), {"input_ids": IDS, "labels": IDS.flip(1)}


def bert() -> tuple[Any, dict[str, torch.Tensor]]:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = BertForSequenceClassification(BertConfig(vocab_size=320, hidden_dropout_prob=0.0, **small))
    return louder(model), {"input_ids": IDS, "labels": torch.tensor([0, 1])}


@pytest.mark.parametrize("make", [t5, bert])
@pytest.mark.parametrize(
    "method",
    [ts.Lora(rank=4, alpha=16), *(ts.Adapter(kind=kind, reduction=4) for kind in KINDS)],
    ids=["lora", *KINDS],
)
def test_attach_in_a_loop_of_ones_own(make: Any, method: Any) -> None:
    """A few steps fit two rows; the base does not move and comes back when the method is off."""
    model, batch = make()
    with torch.no_grad():
        start = model(**batch)
    frozen = {name: value.clone() for name, value in model.state_dict().items()}
    attached = ts.attach(model, method)
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, start.logits)
    optimizer = torch.optim.Adam((p for group in attached.groups() for p in group.parameters.values()), lr=1e-2)
    model.train()
    for _ in range(30):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        assert float(model(**batch).loss) < 0.8 * float(start.loss)
        with attached.off():
            assert torch.equal(model(**batch).logits, start.logits)
    attached.remove()
    assert all(torch.equal(value, frozen[name]) for name, value in model.state_dict().items())
    assert model.state_dict().keys() == frozen.keys()


def test_t5_has_adapters_in_encoder_and_decoder_and_after_cross_attention() -> None:
    model, _ = t5()
    names = set(Adapter(kind="houlsby").attach(model).layers)
    assert {name for name in names if name.startswith("decoder.block.1.")} == {
        "decoder.block.1.layer.0.SelfAttention.o",
        "decoder.block.1.layer.1.EncDecAttention.o",
        "decoder.block.1.layer.2.DenseReluDense.wo",
    }
    assert len(names) == 2 * 2 + 2 * 3


def test_an_unknown_family_is_shown_and_taken_by_names() -> None:
    from transformers import GPTJConfig, GPTJForCausalLM

    torch.manual_seed(0)
    small = {"vocab_size": 320, "n_embd": 16, "n_layer": 2, "n_head": 2, "rotary_dim": 4}
    model = GPTJForCausalLM(GPTJConfig(bos_token_id=1, eos_token_id=2, **small))
    with pytest.raises(UserError, match=r"mlp\.fc_out \[16x64\]") as caught:
        ts.attach(model, ts.Adapter())
    assert caught.value.code == "unknown-family"
    attached = ts.attach(model, ts.Adapter(targets=["fc_out"]))
    assert list(attached.layers) == ["transformer.h.0.mlp.fc_out", "transformer.h.1.mlp.fc_out"]
    loss_of(model).backward()
    assert isinstance(attached.layers["transformer.h.0.mlp.fc_out"].base_layer, nn.Linear)
