"""Seedling's tokenizer and architecture: a 5.2M-parameter Llama with a 4,096-token byte-level BPE.

The tokenizer splits every digit, adds nothing on its own, and decodes to exactly what it encoded. `<|end|>` closes
(and, as the beginning token, opens) a document; `<|im_start|>` and `<|im_end|>` are for chat and never occur in the
corpus, so the base model does not know them. The chat template is ChatML with `{% generation %}` around the answer
and its `<|im_end|>`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

VOCABULARY = 4096
CONTEXT = 1024
PAD, END, TURN_START, TURN_END = SPECIAL = ("<|pad|>", "<|end|>", "<|im_start|>", "<|im_end|>")

CHAT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}
{%- generation %}
{{- message.content + '<|im_end|>' }}
{%- endgeneration %}
{%- else %}
{{- message.content + '<|im_end|>' }}
{%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
_PIECES = r"'(?:[sdmt]|ll|ve|re)|[ -]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """The tokenizer of these texts: 4,096 tokens, the special ones first."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        eos_token=END,
        bos_token=END,
        additional_special_tokens=[TURN_START, TURN_END],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def config() -> LlamaConfig:
    """The architecture: hidden 256, 6 layers, 4 heads over 2 key-value heads of 64, tied embeddings."""
    from transformers import LlamaConfig

    ids = {token: index for index, token in enumerate(SPECIAL)}
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        initializer_range=0.02,
        pad_token_id=ids[PAD],
        bos_token_id=ids[END],
        eos_token_id=ids[END],
    )


def write_base(folder: Path, tokenizer: PreTrainedTokenizerFast, *, seed: int) -> int:
    """Write a randomly initialised float32 model with its tokenizer; returns the number of parameters."""
    import torch
    from transformers import GenerationConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config()).float()
    stop = [tokenizer.convert_tokens_to_ids(token) for token in (TURN_END, END)]
    model.generation_config = GenerationConfig(
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=stop
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())
