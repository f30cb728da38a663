"""Tiny random models of the families Tunesmith drives, from their configs: float32, seed 0."""

from __future__ import annotations

from typing import Any

VOCABULARY = 320


def configs() -> dict[str, Any]:
    """Family name -> transformers config (two or three layers, width 64)."""
    from transformers import (
        BertConfig,
        Gemma2Config,
        Gemma3TextConfig,
        GPT2Config,
        LlamaConfig,
        MistralConfig,
        Phi3Config,
        Qwen3Config,
    )

    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    sliding = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
    return {
        "llama": LlamaConfig(**common),
        "qwen3": Qwen3Config(head_dim=16, **common),
        "gemma2": Gemma2Config(
            head_dim=16, attn_logit_softcapping=5.0, final_logit_softcapping=3.0, **sliding, **common
        ),
        "gemma3": Gemma3TextConfig(head_dim=16, final_logit_softcapping=3.0, **sliding, **common),
        "mistral": MistralConfig(sliding_window=6, **common),
        "phi3": Phi3Config(**common),
        "gpt2": GPT2Config(
            vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=2
        ),
        "bert": BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=256,
        ),
    }


def tiny(family: str, *, seed: int = 0, dropout: bool = False) -> Any:
    """A random model of ``family`` in float32 and eval mode."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    config = configs()[family]
    if not dropout:
        for name in (
            "attention_dropout",
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "attn_pdrop",
            "embd_pdrop",
            "resid_pdrop",
            "resid_dropout",
            "embd_dropout",
        ):
            if hasattr(config, name):
                setattr(config, name, 0.0)
    torch.manual_seed(seed)
    auto = AutoModelForMaskedLM if family == "bert" else AutoModelForCausalLM
    model = auto.from_config(config).float().eval()
    with torch.no_grad():  # random biases and norms, so that forgetting one shows
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif "embed" not in name:
                parameter.mul_(2.0)
    return model
