"""What LoRA's options name: layers, patterns of rank and alpha, modules kept whole, LoRA+'s rates."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from families import tiny
from tunesmith.errors import UserError
from tunesmith.interop.peft import load_adapter
from tunesmith.methods.folder import read_adapter
from tunesmith.methods.lora import Lora
from tunesmith.methods.lora_choice import matched

IDS = torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))
WHOLE = {
    "llama": ["lm_head", "embed_tokens"],
    "phi3": ["lm_head"],
    "gpt2": ["wte", "lm_head"],
    "gemma3": ["embed_tokens", "lm_head"],
    "bert": ["pooler.dense", "transform"],
}
"""Embeddings and heads by family; those of gpt2 and gemma3 share one weight."""


def whole(family: str) -> list[str]:
    return ["transform"] if family == "bert" else WHOLE[family]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def train(model: Any, attached: Any) -> dict[str, torch.Tensor]:
    parameters = {name: value for group in attached.groups() for name, value in group.parameters.items()}
    optimizer = torch.optim.SGD(parameters.values(), lr=0.3)
    for _ in range(2):
        out = model(input_ids=IDS).logits
        torch.nn.functional.cross_entropy(out[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach() for name, value in parameters.items()}


def test_layers_are_indices_of_blocks() -> None:
    attached = Lora(layers=[1], targets=["q_proj", "down_proj"]).attach(tiny("llama"))
    assert list(attached.layers) == ["model.layers.1.self_attn.q_proj", "model.layers.1.mlp.down_proj"]
    assert attached.file_config()["target_modules"] == ["1.mlp.down_proj", "1.self_attn.q_proj"]


def test_patterns_set_rank_and_scaling_as_in_peft() -> None:
    config = Lora(
        rank=4,
        alpha=8,
        rank_pattern={"q_proj": 2, r"model\.layers\.1\..*": 3},
        alpha_pattern={r"1\.self_attn\.q_proj": 1.0},
        targets=["q_proj", "k_proj"],
    )
    layers = config.attach(tiny("llama")).layers
    found = {path.removeprefix("model.layers."): (len(layer.lora_A), layer.scaling) for path, layer in layers.items()}
    assert found == {
        "0.self_attn.q_proj": (2, 8 / 2),
        "0.self_attn.k_proj": (4, 8 / 4),
        "1.self_attn.q_proj": (2, 1 / 2),  # the first pattern that fits counts
        "1.self_attn.k_proj": (3, 8 / 3),
    }


@pytest.mark.parametrize("pattern", ["q_proj", r".*q_proj", "proj", r"layers\.0", "model.layers.0.self_attn.q_proj"])
def test_patterns_match_as_in_peft(pattern: str) -> None:
    other = pytest.importorskip("peft.utils.other")
    for path in ("model.layers.0.self_attn.q_proj", "q_proj", "layers.0", "my_q_proj"):
        assert matched({pattern: 1}, path, 0) == {pattern: 1}.get(other.get_pattern_key([pattern], path), 0)


def test_lora_plus_gives_b_its_own_rate() -> None:
    """One step of plain SGD moves ``B`` by ``ratio`` times what it moves without."""
    moved = {}
    for ratio in (1.0, 16.0):
        model = tiny("llama")
        torch.manual_seed(0)
        attached = Lora(rank=2, b_rate=ratio).attach(model)
        groups = attached.groups()
        out = model(input_ids=IDS).logits
        torch.nn.functional.cross_entropy(out[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()).backward()
        options = [{"params": list(group.parameters.values()), "lr": 0.1 * group.rate} for group in groups]
        torch.optim.SGD(options, lr=0.1).step()
        moved[ratio] = {name: value.detach() for name, value in attached.parameters.items() if "lora_B" in name}
        assert [group.rate for group in groups] == [1.0, 16.0][: len(groups)]
    for name, value in moved[16.0].items():
        torch.testing.assert_close(value, 16 * moved[1.0][name])


def test_what_is_not_a_matrix_is_not_decayed() -> None:
    attached = Lora(rank=2, dora=True, b_rate=2.0, modules_to_save=["lm_head"]).attach(tiny("llama"))
    kinds = [(sorted({name.split(".")[-2] for name in g.parameters}), g.rate, g.decay) for g in attached.groups()]
    assert kinds[:2] == [(["lora_A"], 1.0, True), (["lora_B"], 2.0, True)]
    assert [(rate, decay) for _, rate, decay in kinds[2:]] == [(1.0, False), (1.0, False)]


@pytest.mark.parametrize("family", WHOLE)
def test_modules_kept_whole_both_ways_with_peft(family: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="pip install 'tunesmith[peers]'")
    model = tiny(family)
    before = logits(model)
    attached = Lora(rank=2, modules_to_save=whole(family), targets="attention").attach(model)
    assert torch.equal(logits(model), before)
    values = train(model, attached)
    after = logits(model)
    with attached.off():
        assert torch.equal(logits(model), before)
    assert torch.equal(logits(model), after)
    attached.save(tmp_path / "ours", values)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*tie")
        warnings.filterwarnings("error", message=".*(missing|unexpected).*")
        theirs = peft.PeftModel.from_pretrained(tiny(family), str(tmp_path / "ours")).eval()
    torch.testing.assert_close(logits(theirs), after, atol=1e-5, rtol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save_pretrained(tmp_path / "theirs")
    for folder in ("ours", "theirs"):
        fresh = tiny(family)
        load_adapter(fresh, tmp_path / folder)
        torch.testing.assert_close(logits(fresh), after, atol=1e-5, rtol=1e-5)
    merged = attached.merge()
    torch.testing.assert_close(logits(merged), after, atol=1e-5, rtol=1e-5)
    assert list(merged.state_dict()) == list(tiny(family).state_dict())


def test_a_tied_weight_stays_one_parameter_and_is_stored_under_both_names(tmp_path: Path) -> None:
    model = tiny("gpt2")
    attached = Lora(rank=2, modules_to_save=["wte", "lm_head"]).attach(model)
    assert list(attached.in_place.parameters) == ["base_model.model.transformer.wte.weight"]
    assert model.lm_head.weight is model.transformer.wte.weight
    attached.save(tmp_path, train(model, attached))
    _, tensors = read_adapter(tmp_path)
    names = ["base_model.model.transformer.wte.weight", "base_model.model.lm_head.weight"]
    assert torch.equal(tensors[names[0]], tensors[names[1]])
    with pytest.raises(UserError, match="two values for a weight that this model has once"):
        attached.receive({**tensors, names[1]: tensors[names[1]] + 1}, "a file")


def test_an_untied_copy_of_a_tied_weight_is_refused(tmp_path: Path) -> None:
    """PEFT trains a copy of the embedding beside the tied head: this model has no place for it."""
    peft = pytest.importorskip("peft", reason="pip install 'tunesmith[peers]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(target_modules=["c_attn"], modules_to_save=["wte"])
        peft.get_peft_model(tiny("gpt2"), config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"wte shares its weight with lm_head"):
        load_adapter(tiny("gpt2"), tmp_path)


def test_new_heads_and_modules_to_save_are_one_list(tmp_path: Path) -> None:
    attached = Lora(rank=2, modules_to_save=["lm_head"]).attach(tiny("llama"), heads=["lm_head"])
    assert attached.file_config()["modules_to_save"] == ["lm_head"]
    attached = Lora(rank=2).attach(tiny("llama"), heads=["lm_head"])
    assert "base_model.model.lm_head.weight" in attached.in_place.parameters


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"layers": [0, 2]}, "unknown-layer", "got 2; allowed: 0, 1"),
        ({"layers": []}, "unknown-layer", "nothing would be trained"),
        ({"rank_pattern": {"q_porj": 2}}, "unknown-pattern", "q_proj"),
        ({"alpha_pattern": {"proj": 2}}, "unknown-pattern", "fits no adapted layer"),
        ({"rank_pattern": {"(": 2}}, "unknown-pattern", "no regular expression"),
        ({"modules_to_save": ["lm_heda"]}, "unknown-module", "lm_head"),
        ({"modules_to_save": ["mlp"]}, "saved-and-adapted", "model.layers.0.mlp"),
        ({"modules_to_save": ["down_proj"]}, "saved-and-adapted", "would be adapted"),
    ],
)
def test_what_fits_nothing_is_refused(options: dict[str, Any], code: str, said: str) -> None:
    model = tiny("llama")
    with pytest.raises(UserError) as caught:
        Lora(**options).attach(model)
    assert caught.value.code == code
    assert said in str(caught.value)
    assert all(parameter.requires_grad for parameter in model.parameters()), "the model is left alone"


def test_half_of_a_tied_pair_is_refused() -> None:
    with pytest.raises(UserError, match=r"Add transformer\.wte to modules_to_save"):
        Lora(modules_to_save=["lm_head"]).attach(tiny("gpt2"))


def test_a_sequence_to_sequence_model_both_ways(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="pip install 'tunesmith[peers]'")
    from transformers import T5Config, T5ForConditionalGeneration

    def fresh() -> Any:
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0
        )
        return T5ForConditionalGeneration(config).eval()

    ids = IDS % 64

    def answer(model: Any) -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=ids, decoder_input_ids=ids).logits

    for number, options in enumerate(({"dora": True}, {"init": "pissa"}, {"layers": [1], "rank_pattern": {"wo": 2}})):
        model = fresh()
        attached = Lora(rank=3, **options).attach(model)
        with torch.no_grad():
            for parameter in attached.parameters.values():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        folder = tmp_path / str(number)
        attached.save(folder, attached.parameters)
        theirs = peft.PeftModel.from_pretrained(fresh(), str(folder)).eval()
        assert not torch.allclose(answer(model), answer(fresh()), atol=1e-2)
        torch.testing.assert_close(answer(theirs), answer(model), atol=1e-5, rtol=1e-5)
        again = fresh()
        load_adapter(again, folder)
        torch.testing.assert_close(answer(again), answer(model), atol=1e-5, rtol=1e-5)
