"""Which layers are which, for every family known by name, and what an unknown one is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from families import tiny
from tunesmith.errors import UserError
from tunesmith.models.families import FAMILIES
from tunesmith.models.layers import anatomy, resolve_targets, shortest_endings
from tunesmith.models.linears import is_linear, view

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
    if name == "mt5":
        return t.MT5ForConditionalGeneration(
            t.MT5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2)
        )
    if name == "gptj":
        config = t.GPTJConfig(
            vocab_size=50, n_embd=16, n_layer=2, n_head=2, rotary_dim=4, bos_token_id=1, eos_token_id=2
        )
        return t.GPTJForCausalLM(config)
    if name == "distilbert":
        return t.DistilBertForMaskedLM(t.DistilBertConfig(vocab_size=50, dim=16, hidden_dim=24, n_layers=2, n_heads=2))
    if name == "gemma3":
        return gemma3_with_pictures()
    small = {
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    model, config, more = CLASSES[name]
    return getattr(t, model)(getattr(t, config)(**{**small, **more}))


def gemma3_with_pictures() -> Any:
    import transformers as t

    text = {
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    eye = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    return t.Gemma3ForConditionalGeneration(t.Gemma3Config(text_config=text, vision_config=eye, mm_tokens_per_image=4))


IDS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
KEYS: dict[str, Any] = {"num_key_value_heads": 2, **IDS}
SPARSE: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, **KEYS}
CLASSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", KEYS),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", {"head_dim": 8, **KEYS}),
    "olmo": ("OlmoForCausalLM", "OlmoConfig", KEYS),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", KEYS),
    "granite": ("GraniteForCausalLM", "GraniteConfig", KEYS),
    "cohere": ("CohereForCausalLM", "CohereConfig", KEYS),
    "cohere2": ("Cohere2ForCausalLM", "Cohere2Config", KEYS),
    "smollm3": ("SmolLM3ForCausalLM", "SmolLM3Config", KEYS),
    "starcoder2": ("Starcoder2ForCausalLM", "Starcoder2Config", KEYS),
    "phi": ("PhiForCausalLM", "PhiConfig", IDS),
    "opt": ("OPTForCausalLM", "OPTConfig", {"ffn_dim": 24, "word_embed_proj_dim": 12, **IDS}),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {"num_local_experts": 4, **KEYS}),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        {"shared_expert_intermediate_size": 12, "mlp_only_layers": [0], **SPARSE},
    ),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", {"head_dim": 8, **SPARSE}),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", {}),
    "xlm-roberta": ("XLMRobertaForMaskedLM", "XLMRobertaConfig", {}),
    "electra": ("ElectraForMaskedLM", "ElectraConfig", {}),
    "mpnet": ("MPNetForMaskedLM", "MPNetConfig", {}),
    "bert-classifier": ("BertForSequenceClassification", "BertConfig", {}),
    "bert-bare": ("BertModel", "BertConfig", {}),
}
SPARSE_FAMILIES = ["mixtral", "qwen2_moe", "qwen3_moe"]
DENSE = ["gpt_neox", "t5", "mt5", "gemma3", "distilbert", *(name for name in CLASSES if name not in SPARSE_FAMILIES)]


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


@pytest.mark.parametrize("name", DENSE)
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
    assert not found.experts


@pytest.mark.parametrize("name", [*DENSE, *ATTENTION])
def test_the_ends_of_sublayers_are_where_the_residual_stream_is_read_and_written(name: str) -> None:
    """Widths are the stream's, each end runs once, and the MLP's end right after its beginning."""
    model = tiny(name) if name in ATTENTION else other(name)
    found = anatomy(model)
    width = model.config.get_text_config().hidden_size
    modules = dict(model.named_modules())
    cross = sum("EncDecAttention.o" in path for path in found.attention_out)
    assert len(found.attention_out) == len(found.blocks) + cross
    assert len(found.mlp_in) == len(found.mlp_out) == len(found.blocks)
    assert all(view(modules[path]).out_features == width for path in (*found.attention_out, *found.mlp_out))
    assert all(view(modules[path]).in_features == width for path in found.mlp_in)
    assert {*found.attention_out} < {*found.attention}
    assert {*found.mlp_in, *found.mlp_out} <= {*found.mlp}
    order: list[str] = []
    for path in (*found.attention_out, *found.mlp_in, *found.mlp_out):
        modules[path].register_forward_hook(lambda *_, path=path: order.append(path))
    with torch.no_grad():
        model(
            torch.tensor([[5, 6, 7]]), **({"decoder_input_ids": torch.tensor([[5, 6]])} if name.endswith("t5") else {})
        )
    for first, last in zip(found.mlp_in, found.mlp_out, strict=True):
        assert order.index(last) == order.index(first) + 1, "nothing of another sublayer runs between the two"
    assert sorted(order) == sorted((*found.attention_out, *found.mlp_in, *found.mlp_out)), "each runs once"


@pytest.mark.parametrize("name", SPARSE_FAMILIES)
def test_experts_in_one_tensor_are_named_and_refused_never_left_out_in_silence(name: str) -> None:
    model = other(name)
    found = anatomy(model)
    # two tensors (gate-up and down) in each block with experts; the first block of this Qwen 2 has none
    blocks = 1 if name == "qwen2_moe" else 2
    assert len(found.experts) == 2 * blocks
    assert all(".mlp.experts." in path for path in found.experts)
    assert resolve_targets(model, "attention") == list(found.attention)
    assert len(found.attention) == 8
    assert not [path for path in found.mlp if "shared_expert_gate" in path], "routing is not adapted"
    for target in ("all-linear", "mlp"):
        with pytest.raises(UserError, match=r"layers\.\d\.mlp\.experts\.gate_up_proj") as caught:
            resolve_targets(model, target)
        assert caught.value.code == "fused-experts"
    hint = str(caught.value).partition("targets: [")[2].partition("]")[0]
    named = resolve_targets(model, hint.split(", "))
    assert len(named) == 8 + (3 if name == "qwen2_moe" else 0)


def test_every_family_of_the_table_has_a_model_here() -> None:
    driven = {tiny(name).config.model_type for name in ATTENTION}
    here = {name for name in (*DENSE, *SPARSE_FAMILIES) if not name.startswith("bert-")}
    assert set(FAMILIES) == driven | here
    assert all(other(name).config.model_type == name for name in here)


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
