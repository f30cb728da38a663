"""What both sides train: a Llama of one of three sizes, instruction rows, and one saved LoRA adapter to start from.

    python -m sidebyside.material FOLDER [ALPACA_FILE] [--size 32m] [--rows alpaca]

Model: one of ``SIZES``, tied embeddings, seed 0; its byte-level BPE of 16,000 tokens is trained on Python's own
standard library. Rows are alpaca rows as two messages (``alpaca``), the shorter of them (``mean120``), or several
joined to one conversation of the full length (``full``); without a file they are Seedling's generated instructions. The
adapter is not at its usual start (``B = 0``): a zero ``B`` would hide every mistake in the gradient of ``A``.
"""

from __future__ import annotations

import argparse
import json
import random
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VOCABULARY = 16_000
MAX_TOKENS = 512
RANK, ALPHA = 16, 32
GENERATED_ROWS = 1000
SHORT_ROWS = 200
SPECIAL = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}<|user|>{{ message['content'] }}"
    "{% else %}<|assistant|>{% generation %}{{ message['content'] }}</s>{% endgeneration %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Size:
    """A Llama's shape; ``vocabulary`` may have more rows than the tokenizer has tokens."""

    width: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int = VOCABULARY


SIZES = {
    "15m": Size(384, 1024, 6, 6, 6),
    "32m": Size(512, 1408, 8, 8, 4),
    "135m": Size(576, 1536, 30, 9, 3, vocabulary=49_152),
}
"""The last has the shape of SmolLM2-135M."""
ROWS = ("alpaca", "mean120", "full")
MEAN = 120
"""Mean length of the rows ``mean120``, in tokens."""


def make(folder: Path, alpaca: Path | None, *, size: str = "32m", kind: str = "alpaca") -> None:
    """Write ``model/``, ``adapter/``, ``rows.jsonl`` (all rows) and ``short.jsonl`` (the shortest) in ``folder``."""
    tokenizer = make_start(folder, size=size)
    every = alpaca_rows(alpaca) if alpaca else generated_rows()
    lengths = [len(tokenizer.apply_chat_template(row["messages"], return_dict=True)["input_ids"]) for row in every]
    by_length = sorted(range(len(every)), key=lambda row: (lengths[row], row))
    write_rows(folder / "rows.jsonl", chosen_rows(kind, every, lengths, by_length))
    write_rows(folder / "short.jsonl", [every[row] for row in sorted(by_length[:SHORT_ROWS])])


def chosen_rows(
    kind: str, rows: Sequence[dict[str, Any]], lengths: Sequence[int], by_length: Sequence[int]
) -> list[dict[str, Any]]:
    """The rows of a ``kind``, in their order."""
    if kind == "full":
        return joined_rows(rows, lengths)
    count = len(rows)
    while kind == "mean120" and count > 1 and sum(lengths[row] for row in by_length[:count]) > MEAN * count:
        count -= 1
    return [rows[row] for row in sorted(by_length[:count])]


def joined_rows(rows: Sequence[dict[str, Any]], lengths: Sequence[int]) -> list[dict[str, Any]]:
    """Neighbours as one conversation of at least ``MAX_TOKENS`` (both sides cut what is longer); a rest is left out."""
    found: list[dict[str, Any]] = []
    turns: list[dict[str, str]] = []
    tokens = 0
    for row, length in zip(rows, lengths, strict=True):
        turns += row["messages"]
        tokens += length
        if tokens >= MAX_TOKENS:
            found.append({"messages": turns})
            turns, tokens = [], 0
    return found


def make_start(folder: Path, *, size: str = "32m") -> Any:
    """Write ``model/`` and ``adapter/``; returns the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    model = make_model(SIZES[size])
    for part in (tokenizer, model):
        part.save_pretrained(folder / "model")
    make_adapter(model, folder / "adapter")
    return tokenizer


def make_tokenizer() -> Any:
    """A byte-level BPE trained on the standard library, with chat marks and a template that marks generations."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(library_texts(), trainer)
    pad, start, end = SPECIAL[:3]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token=pad, bos_token=start, eos_token=end)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def library_texts() -> Iterator[str]:
    """The source of the first 150 modules of the standard library, by name."""
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:150]:
        yield file.read_text(encoding="utf-8", errors="ignore")


def make_model(size: Size) -> Any:
    """The Llama, float32, seed 0."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size.vocabulary,
            hidden_size=size.width,
            intermediate_size=size.mlp,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.kv_heads,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def make_adapter(model: Any, folder: Path) -> None:
    """Save a PEFT adapter on all linears with small random ``A`` and ``B``."""
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM")
    torch.manual_seed(1)
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.005)
    adapted.save_pretrained(folder)


def alpaca_rows(file: Path) -> list[dict[str, Any]]:
    """Rows of a JSON list with ``instruction``, ``input`` and ``output``."""
    rows = json.loads(file.read_text(encoding="utf-8"))
    return [_row("\n".join(filter(None, (row["instruction"], row.get("input")))), row["output"]) for row in rows]


def generated_rows() -> list[dict[str, Any]]:
    """Seedling's instructions, several joined to a row so that lengths are as mixed as in real data."""
    from tunesmith.models.seedling import instruction_set

    draw = random.Random(0)
    single = [row["messages"] for row in instruction_set("all", seed=0, split="train", n=8 * GENERATED_ROWS)]
    rows = []
    while single and len(rows) < GENERATED_ROWS:
        joined = [single.pop() for _ in range(min(len(single), draw.choice((1, 2, 3, 5, 8, 16))))]
        questions, answers = ("\n".join(messages[turn]["content"] for messages in joined) for turn in (-2, -1))
        rows.append(_row(questions, answers))
    return rows


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object a line."""
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _row(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def asked() -> argparse.Namespace:
    """The command line of every maker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--size", choices=sorted(SIZES), default="32m")
    parser.add_argument("--rows", choices=ROWS, default="alpaca")
    return parser.parse_args()


if __name__ == "__main__":
    options = asked()
    make(options.folder, options.data, size=options.size, kind=options.rows)
