"""Which layers are which, for every family known by name, and what an unknown one is told."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from families import tiny
from tunesmith.errors import UserError
from tunesmith.models.layers import FAMILIES, anatomy, resolve_targets, shortest_endings
from tunesmith.models.linears import is_linear

ATTENTION = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "qwen3": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "gemma2": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "gemma3": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "mistral": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "phi3": ["qkv_proj", "o_proj"],
    "gpt2": ["c_attn", "c_proj"],
    "bert": ["query", "key", "value", "dense"],
}


def other(name: str) -> Any:
    """Tiny models of the families that only methods know."""
    import transformers as t

    if name == "gpt_neox":
        config = t.GPTNeoXConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=3,
            num_attention_heads=2,
            bos_token_id=1,
            eos_token_id=2,
        )
        return t.GPTNeoXForCausalLM(config)
    if name == "t5":
        gated = {"feed_forward_proj": "gated-gelu"}
        return t.T5ForConditionalGeneration(
            t.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, **gated)
        )
    if name == "gptj":
        config = t.GPTJConfig(
            vocab_size=50, n_embd=16, n_layer=2, n_head=2, rotary_dim=4, bos_token_id=1, eos_token_id=2
        )
        return t.GPTJForCausalLM(config)
    small = {
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    classes = {
        "qwen2": (t.Qwen2ForCausalLM, t.Qwen2Config),
        "gemma": (t.GemmaForCausalLM, t.GemmaConfig),
        "roberta": (t.RobertaForMaskedLM, t.RobertaConfig),
        "xlm-roberta": (t.XLMRobertaForMaskedLM, t.XLMRobertaConfig),
        "electra": (t.ElectraForMaskedLM, t.ElectraConfig),
        "bert-classifier": (t.BertForSequenceClassification, t.BertConfig),
        "bert-bare": (t.BertModel, t.BertConfig),
    }
    model, config = classes[name]
    return model(config(**small))


@pytest.mark.parametrize("family", ATTENTION)
def test_attention_and_mlp_of_the_driven_families(family: str) -> None:
    model = tiny(family)
    found = anatomy(model)
    blocks = model.config.num_hidden_layers
    assert len(found.blocks) == blocks
    assert {name.rpartition(".")[2] for name in found.attention} == set(ATTENTION[family])
    assert len(found.attention) == blocks * len(ATTENTION[family])
    linears = {name for name, module in model.named_modules() if is_linear(module)}
    outside = linears - {*found.attention, *found.mlp}
    expected = {"cls.predictions.transform.dense", "cls.predictions.decoder"} if family == "bert" else {"lm_head"}
    assert outside == expected


@pytest.mark.parametrize(
    "name", ["gpt_neox", "t5", "qwen2", "gemma", "roberta", "xlm-roberta", "electra", "bert-classifier", "bert-bare"]
)
def test_every_linear_of_a_block_is_attention_or_mlp(name: str) -> None:
    model = other(name)
    found = anatomy(model)
    inside = {
        path
        for path, module in model.named_modules()
        if is_linear(module) and found.part_of(path) not in ("head", "embedding")
    }
    assert inside == {*found.attention, *found.mlp}
    assert found.attention
    assert found.mlp
    assert all(found.part_of(path) == "embedding" for path in found.embeddings)
    modules = dict(model.named_modules())
    assert all(path in modules for path in found.embeddings), "every embedding of the table exists"


def test_every_family_of_the_table_has_a_model_here() -> None:
    driven = {tiny(name).config.model_type for name in ATTENTION}
    assert set(FAMILIES) == driven | {"gpt_neox", "t5", "qwen2", "gemma", "roberta", "xlm-roberta", "electra"}


def test_block_order_of_an_encoder_decoder_is_encoder_first() -> None:
    found = anatomy(other("t5"))
    assert found.blocks == ("encoder.block.0", "encoder.block.1", "decoder.block.0", "decoder.block.1")
    assert found.part_of("decoder.block.1.layer.2.DenseReluDense.wi_0.weight") == 3
    assert found.part_of("lm_head.weight") == "head"
    assert found.part_of("encoder.final_layer_norm.weight") == "embedding"


def test_targets_by_group_name_path_and_pattern() -> None:
    model = tiny("llama")
    assert resolve_targets(model, "attention") == list(anatomy(model).attention)
    assert resolve_targets(model, ["q_proj"]) == [f"model.layers.{i}.self_attn.q_proj" for i in (0, 1)]
    assert resolve_targets(model, ["layers.1.*_proj"]) == [
        n for n in resolve_targets(model, "all-linear") if ".1." in n
    ]
    assert resolve_targets(model, ["mlp", "model.layers.0.self_attn.q_proj"])[0] == "model.layers.0.self_attn.q_proj"
    assert resolve_targets(model, ["lm_head"]) == ["lm_head"]
    assert "lm_head" not in resolve_targets(model, "all-linear")
    assert resolve_targets(tiny("gpt2"), ["attn.c_proj"]) == [
        "transformer.h.0.attn.c_proj",
        "transformer.h.1.attn.c_proj",
    ]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("q_prj", "Did you mean 'q_proj'?"),
        ("all_linear", "Did you mean 'all-linear'?"),
        ("embed_tokens", "Embedding, not a linear"),
    ],
)
def test_unknown_target_is_told_what_there_is(target: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_targets(tiny("llama"), [target])
    assert caught.value.code == "unknown-target"
    assert "gate_proj" in str(caught.value)
    assert said in str(caught.value)


def test_empty_targets_are_refused() -> None:
    with pytest.raises(UserError, match="nothing would be trained"):
        resolve_targets(tiny("llama"), [])


def test_unknown_family_is_shown_and_not_guessed() -> None:
    model = other("gptj")
    with pytest.raises(UserError) as caught:
        resolve_targets(model, "all-linear")
    text = str(caught.value)
    assert caught.value.code == "unknown-family"
    assert "transformer.h (2)" in text
    assert "attn.q_proj [16x16]" in text
    assert "outside them: lm_head" in text
    assert "targets: [fc_in, fc_out, k_proj, out_proj, q_proj, v_proj]" in text
    assert len(resolve_targets(model, ["q_proj", "v_proj"])) == 4


def test_a_known_family_with_a_linear_nobody_knows_is_not_guessed() -> None:
    model = tiny("llama")
    model.model.layers[1].router = nn.Linear(4, 4)
    with pytest.raises(UserError, match="router"):
        anatomy(model)


def test_shortest_endings_select_exactly_the_paths() -> None:
    for family, targets, expected in [
        ("llama", ["q_proj", "v_proj"], ["q_proj", "v_proj"]),
        ("gpt2", ["mlp.c_proj"], ["mlp.c_proj"]),
        ("bert", "mlp", ["0.output.dense", "1.output.dense", "intermediate.dense"]),
        ("llama", ["layers.1.self_attn.q_proj"], ["1.self_attn.q_proj"]),
    ]:
        model = tiny(family)
        paths = resolve_targets(model, targets)
        endings = shortest_endings(model, paths)
        assert endings == expected
        selected = [n for n, _ in model.named_modules() if any(n == e or n.endswith(f".{e}") for e in endings)]
        assert selected == paths
