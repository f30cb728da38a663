"""A whole base model on disk, small enough to train in a second: byte-level BPE, a chat template, random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from families import VOCABULARY, tiny

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message['content'] }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|pad|>", "<|endoftext|>", "<|im_end|>", "<|im_start|>"]
"""In the order of the ids 0, 1, 2 that the configs of ``families`` name as pad, begin and end."""
SENTENCES = ["What is the name of the river?", "The river is called Anna.", "user assistant system", "Count to seven."]


def make_base(folder: Path, family: str = "llama") -> Path:
    """Write a tiny random model of ``family`` with its tokenizer into ``folder``."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    tiny(family).save_pretrained(folder)
    return folder


def make_tokenizer() -> Any:
    """All 256 bytes, the special tokens, and merges up to the vocabulary of ``families``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    raw.train_from_iterator(SENTENCES, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|pad|>")
    tokenizer.chat_template = CHATML
    return tokenizer


def make_rows(path: Path, count: int = 60) -> Path:
    """Write conversations of different lengths as jsonl."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            words = " ".join(["very"] * (number % 7))
            turns = [
                {"role": "user", "content": f"What is {words} {number} and {number % 5}?"},
                {"role": "assistant", "content": f"It is {number + number % 5}. {'Sure. ' * (number % 4)}"},
            ]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path
