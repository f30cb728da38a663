"""Names of the modules of known transformers architectures: a table, checked against tiny models in the tests.

The trap: a name that a new version of transformers changes finds nothing; ``layers.anatomy`` then refuses the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Names of one architecture: ``blocks`` and ``embeddings`` are paths from the base model, all others patterns of
    linears' paths from a block."""

    blocks: tuple[str, ...]
    embeddings: tuple[str, ...]
    attention: tuple[str, ...]
    mlp: tuple[str, ...]
    attention_out: tuple[str, ...]
    """those of ``attention`` that write back to the residual stream"""
    mlp_in: tuple[str, ...]
    """those of ``mlp`` that read it; one in each MLP, the first to run"""
    mlp_out: tuple[str, ...]
    """those of ``mlp`` that write back to it"""
    routing: tuple[str, ...] = ()
    """linears that decide which expert sees a token: no method adapts them"""


_GATED = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
_QKVO = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_LLAMA = Family(
    blocks=("layers",),
    embeddings=("embed_tokens",),
    attention=_QKVO,
    mlp=_GATED,
    attention_out=("self_attn.o_proj",),
    mlp_in=("mlp.gate_proj",),
    mlp_out=("mlp.down_proj",),
)
_MIXTURE = Family(
    blocks=("layers",),
    embeddings=("embed_tokens",),
    attention=_QKVO,
    mlp=(*_GATED, *(name.replace("mlp.", "mlp.shared_expert.") for name in _GATED)),
    attention_out=("self_attn.o_proj",),
    mlp_in=("mlp.gate_proj",),
    mlp_out=("mlp.down_proj",),
    routing=("mlp.shared_expert_gate",),
)
_GEMMA3 = Family(
    blocks=("language_model.layers",),
    embeddings=("language_model.embed_tokens", "vision_tower", "multi_modal_projector"),
    attention=_QKVO,
    mlp=_GATED,
    attention_out=("self_attn.o_proj",),
    mlp_in=("mlp.gate_proj",),
    mlp_out=("mlp.down_proj",),
)
_PHI = Family(
    blocks=("layers",),
    embeddings=("embed_tokens",),
    attention=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.dense"),
    mlp=("mlp.fc1", "mlp.fc2"),
    attention_out=("self_attn.dense",),
    mlp_in=("mlp.fc1",),
    mlp_out=("mlp.fc2",),
)
_PHI3 = Family(
    blocks=("layers",),
    embeddings=("embed_tokens",),
    attention=("self_attn.qkv_proj", "self_attn.o_proj"),
    mlp=("mlp.gate_up_proj", "mlp.down_proj"),
    attention_out=("self_attn.o_proj",),
    mlp_in=("mlp.gate_up_proj",),
    mlp_out=("mlp.down_proj",),
)
_STARCODER2 = Family(
    blocks=("layers",),
    embeddings=("embed_tokens",),
    attention=_QKVO,
    mlp=("mlp.c_fc", "mlp.c_proj"),
    attention_out=("self_attn.o_proj",),
    mlp_in=("mlp.c_fc",),
    mlp_out=("mlp.c_proj",),
)
_OPT = Family(
    blocks=("decoder.layers",),
    embeddings=("decoder.embed_tokens", "decoder.embed_positions", "decoder.project_in"),
    attention=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
    mlp=("fc1", "fc2"),
    attention_out=("self_attn.out_proj",),
    mlp_in=("fc1",),
    mlp_out=("fc2",),
)
_GPT2 = Family(
    blocks=("h",),
    embeddings=("wte", "wpe"),
    attention=("attn.c_attn", "attn.c_proj"),
    mlp=("mlp.c_fc", "mlp.c_proj"),
    attention_out=("attn.c_proj",),
    mlp_in=("mlp.c_fc",),
    mlp_out=("mlp.c_proj",),
)
_GPT_NEOX = Family(
    blocks=("layers",),
    embeddings=("embed_in",),
    attention=("attention.query_key_value", "attention.dense"),
    mlp=("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    attention_out=("attention.dense",),
    mlp_in=("mlp.dense_h_to_4h",),
    mlp_out=("mlp.dense_4h_to_h",),
)
_BERT = Family(
    blocks=("encoder.layer",),
    embeddings=("embeddings",),
    attention=("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    mlp=("intermediate.dense", "output.dense"),
    attention_out=("attention.output.dense",),
    mlp_in=("intermediate.dense",),
    mlp_out=("output.dense",),
)
_MPNET = Family(
    blocks=("encoder.layer",),
    embeddings=("embeddings", "encoder.relative_attention_bias"),
    attention=tuple(f"attention.attn.{name}" for name in "qkvo"),
    mlp=("intermediate.dense", "output.dense"),
    attention_out=("attention.attn.o",),
    mlp_in=("intermediate.dense",),
    mlp_out=("output.dense",),
)
_DISTILBERT = Family(
    blocks=("transformer.layer",),
    embeddings=("embeddings",),
    attention=("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
    mlp=("ffn.lin1", "ffn.lin2"),
    attention_out=("attention.out_lin",),
    mlp_in=("ffn.lin1",),
    mlp_out=("ffn.lin2",),
)
_T5 = Family(
    blocks=("encoder.block", "decoder.block"),
    # the encoder's last norm lies below the decoder: training it needs a backward pass through all of it
    embeddings=("shared", "encoder.embed_tokens", "decoder.embed_tokens", "encoder.final_layer_norm"),
    attention=tuple(f"layer.?.{kind}.{name}" for kind in ("SelfAttention", "EncDecAttention") for name in "qkvo"),
    mlp=tuple(f"layer.?.DenseReluDense.{name}" for name in ("wi", "wi_0", "wi_1", "wo")),
    attention_out=("layer.?.SelfAttention.o", "layer.?.EncDecAttention.o"),
    mlp_in=("layer.?.DenseReluDense.wi", "layer.?.DenseReluDense.wi_0"),
    mlp_out=("layer.?.DenseReluDense.wo",),
)

_LIKE_LLAMA = (
    *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"),
    *("olmo", "olmo2", "granite", "cohere", "cohere2", "smollm3"),
)
FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(_LIKE_LLAMA, _LLAMA),
    **dict.fromkeys(("mixtral", "qwen2_moe", "qwen3_moe"), _MIXTURE),
    "gemma3": _GEMMA3,
    "phi": _PHI,
    "phi3": _PHI3,
    "starcoder2": _STARCODER2,
    "opt": _OPT,
    "gpt2": _GPT2,
    "gpt_neox": _GPT_NEOX,
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra"), _BERT),
    "mpnet": _MPNET,
    "distilbert": _DISTILBERT,
    **dict.fromkeys(("t5", "mt5"), _T5),
}
"""``config.model_type`` -> names."""
