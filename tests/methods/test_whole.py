"""``full`` and ``freeze``: which parameters are trained, where backward stops, what the saved model folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from families import tiny
from tunesmith.errors import UserError
from tunesmith.methods.freeze import Freeze
from tunesmith.methods.full import Full


def trained(method: Freeze | Full, model: Any) -> set[str]:
    return {name for group in method.attach(model).groups() for name in group.parameters}


def test_full_trains_everything_and_a_tied_weight_once() -> None:
    model = tiny("gpt2")
    assert trained(Full(), model) == {name for name, _ in model.named_parameters()}
    assert "lm_head.weight" not in trained(Full(), model)


def test_vectors_are_not_decayed() -> None:
    matrices, vectors = Full().attach(tiny("gpt2")).groups()
    assert matrices.decay
    assert not vectors.decay
    assert {parameter.ndim for parameter in vectors.parameters.values()} == {1}


def test_top_layers_and_head() -> None:
    model = tiny("llama")
    names = {name for name, _ in model.named_parameters()}
    top = {name for name in names if name.startswith("model.layers.1.")}
    head = {"model.norm.weight", "lm_head.weight"}
    assert trained(Freeze(top_layers=1), model) == top | head
    assert trained(Freeze(top_layers=1, head=False), model) == top
    assert trained(Freeze(top_layers=0), model) == head
    assert trained(Freeze(top_layers=0, head=False, embeddings=True), model) == {"model.embed_tokens.weight"}
    assert trained(Freeze(top_layers=2, embeddings=True), model) == names


def test_patterns_add_and_remove() -> None:
    model = tiny("llama")
    chosen = trained(Freeze(top_layers=0, head=False, train=["*layers.0.mlp*"], freeze=["*up_proj*"]), model)
    assert chosen == {"model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.down_proj.weight"}


def test_heads_of_encoders() -> None:
    chosen = trained(Freeze(top_layers=0), untied_bert())
    assert "cls.predictions.transform.dense.weight" in chosen
    assert all(name.startswith("cls.") for name in chosen)


def untied_bert() -> Any:
    from transformers import BertForMaskedLM

    from families import configs

    config = configs()["bert"]
    config.tie_word_embeddings = False
    return BertForMaskedLM(config)


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "bert"])
def test_a_tied_head_alone_is_refused(family: str) -> None:
    with pytest.raises(UserError, match="cannot be trained alone"):
        Freeze(top_layers=0).attach(tiny(family))


@pytest.mark.parametrize(
    ("family", "top"), [("gpt2", 1), ("gemma3", 1), ("bert", 1), ("llama", 1), ("llama", 0), ("untied_bert", 0)]
)
def test_no_backward_below_the_lowest_trained_layer(family: str, top: int) -> None:
    """Frozen blocks are never visited by backward: their outputs are no part of the graph."""
    model = untied_bert() if family == "untied_bert" else tiny(family)
    Freeze(top_layers=top).attach(model)
    base = model.base_model
    blocks = getattr(base, "layers", None) or getattr(base, "h", None) or base.encoder.layer
    visited: list[int] = []

    def watch(index: int, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda _: visited.append(index))

    for index, block in enumerate(blocks):
        block.register_forward_hook(
            lambda _, __, out, index=index: watch(index, out if torch.is_tensor(out) else out[0])
        )
    model(input_ids=torch.tensor([[5, 6, 7]])).logits.square().sum().backward()
    assert visited == list(range(len(blocks) - 1, len(blocks) - 1 - top, -1))
    frozen = [
        name for index in range(len(blocks) - top) for name, p in blocks[index].named_parameters() if p.grad is not None
    ]
    assert not frozen


@pytest.mark.parametrize(
    ("method", "code"),
    [
        (Freeze(top_layers=9), "not-enough-layers"),
        (Freeze(top_layers=0, head=False), "nothing-trained"),
        (Freeze(train=["*self_atn*"]), "unknown-pattern"),
        (Freeze(freeze=["model.norm.wieght"]), "unknown-pattern"),
    ],
)
def test_mistakes(method: Freeze, code: str) -> None:
    with pytest.raises(UserError) as caught:
        method.attach(tiny("llama"))
    assert caught.value.code == code
    if "wieght" in str(caught.value):
        assert "Did you mean 'model.norm.weight'?" in str(caught.value)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_the_folder_holds_the_values_handed_in_and_loads_in_transformers(family: str, tmp_path: Path) -> None:
    model = tiny(family)
    attached = Full().attach(model)
    values = {
        name: torch.randn(p.shape, generator=torch.Generator().manual_seed(1)) * 0.1
        for group in attached.groups()
        for name, p in group.parameters.items()
    }
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attached.save(tmp_path, values)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "saving changes nothing"
    loaded = type(model).from_pretrained(tmp_path)
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, values[name]), name
    if model.config.tie_word_embeddings:
        assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight


def test_the_saved_dtype_is_the_models(tmp_path: Path) -> None:
    model = tiny("llama").to(torch.bfloat16)
    attached = Freeze(top_layers=1).attach(model)
    values = {name: p.detach().float() for group in attached.groups() for name, p in group.parameters.items()}
    attached.save(tmp_path, values)
    loaded = type(model).from_pretrained(tmp_path, dtype="auto")
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "gemma3"])
def test_loading_makes_no_second_model(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors go from the file into place, bit for bit."""
    attached = Full().attach(tiny(family))
    values = {name: value.detach() + 0.5 for name, value in attached.trained.items()}
    attached.save(tmp_path, values)

    def second(*_: Any, **__: Any) -> None:
        raise AssertionError("a second model was made")

    monkeypatch.setattr(type(attached.model), "from_pretrained", second)
    attached.load(tmp_path)
    for name, value in attached.trained.items():
        assert torch.equal(value, values[name])


def rates(method: Freeze | Full, model: Any) -> dict[str, float]:
    return {name: group.rate for group in method.attach(model).groups() for name in group.parameters}


def test_layers_further_down_learn_more_slowly() -> None:
    """ELECTRA's rule with a decay of 0.5 and two blocks: head 1, top block 1/2, next 1/4, embeddings 1/8."""
    found = rates(Full(layer_decay=0.5), tiny("llama"))
    expected = {
        "lm_head": 1.0,
        "model.norm": 1.0,
        "model.layers.1.": 0.5,
        "model.layers.0.": 0.25,
        "embed_tokens": 0.125,
    }
    for name, rate in found.items():
        (wanted,) = (value for part, value in expected.items() if part in name)
        assert rate == wanted, name
    assert set(found.values()) == set(expected.values())


def test_a_tied_head_learns_as_the_embeddings_do() -> None:
    found = rates(Full(layer_decay=0.5), tiny("gpt2"))
    assert found["transformer.wte.weight"] == 0.125
    assert found["transformer.ln_f.weight"] == 1.0


def test_frozen_layers_count_and_one_rate_is_one_group() -> None:
    found = rates(Freeze(top_layers=1, layer_decay=0.8), tiny("llama"))
    assert {rate for name, rate in found.items() if "layers.1" in name} == {0.8}
    assert {rate for name, rate in found.items() if "layers" not in name} == {1.0}
    assert [group.rate for group in Full().attach(tiny("llama")).groups()] == [1.0, 1.0]
    assert [group.rate for group in Full(layer_decay=0.9).attach(tiny("llama")).groups()] == pytest.approx(
        [1.0, 1.0, 0.9, 0.9, 0.81, 0.81, 0.729]
    )


def test_the_first_update_of_each_layer_is_its_rate() -> None:
    """Adam's first step is the learning rate, whatever the gradient: so the largest move is the layer's own rate."""
    from tunesmith.engine import optimizers
    from tunesmith.engine.weights import Weights
    from tunesmith.recipe.schema import TrainConfig

    model = tiny("llama")
    weights = Weights(Full(layer_decay=0.5).attach(model).groups())
    weights.bind()
    start = {name: value.clone() for name, value in weights.values.items()}
    optimizer = optimizers.build(weights, TrainConfig(learning_rate=1e-3, weight_decay=0.0))
    model(input_ids=torch.tensor([[5, 6, 7]])).logits.square().sum().backward()
    weights.collect()
    optimizers.set_rate(optimizer, 1e-3)
    optimizer.step()
    found = rates(Full(layer_decay=0.5), tiny("llama"))
    for name, value in weights.values.items():
        assert float((value - start[name]).abs().max()) == pytest.approx(1e-3 * found[name], rel=1e-2), name


def test_a_decay_needs_a_known_family() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    Full().attach(model)
    with pytest.raises(UserError) as caught:
        Full(layer_decay=0.9).attach(model)
    assert caught.value.code == "unknown-family"
