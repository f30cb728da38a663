"""What both sides train: a Llama of one of ``SIZES``, instruction rows, and one saved LoRA adapter to start from.

    python -m sidebyside.material FOLDER [ALPACA_FILE] [--size 32m] [--rows alpaca] [--top]

The model is drawn by seed 0; its byte-level BPE of 16,000 tokens is trained on Python's own standard library. Rows are
alpaca rows as two messages (``alpaca``), the shorter of them (``mean120``), or several joined to one conversation of
the full length (``full``); without a file they are Seedling's generated instructions. The adapter is not at its usual
start (``B = 0``): a zero ``B`` would hide every mistake in the gradient of ``A``. With ``--top`` it is on the upper
half of the layers alone, and the rows are one epoch of fifteen updates.
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
    tied: bool = True
    stored: str = "float32"
    positions: int = 2048

    @property
    def top(self) -> list[int]:
        """The upper half of the layers."""
        return list(range(self.layers // 2, self.layers))


SIZES = {
    "tiny": Size(64, 128, 2, 4, 2),
    "15m": Size(384, 1024, 6, 6, 6),
    "32m": Size(512, 1408, 8, 8, 4),
    "135m": Size(576, 1536, 30, 9, 3, vocabulary=49_152),
    "1b": Size(2048, 8192, 16, 32, 8, vocabulary=128_256, stored="bfloat16"),
    "8b": Size(4096, 14_336, 32, 32, 8, vocabulary=128_256, tied=False, stored="bfloat16"),
}
"""``tiny`` is for tests; the last three have the shapes of SmolLM2-135M, Llama-3.2-1B and Llama-3.1-8B. ``stored`` is
the dtype of the file."""
ROWS = ("alpaca", "mean120", "full")
MEAN = 120
"""Mean length of the rows ``mean120``, in tokens."""
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Of a block of a Llama: PEFT takes no layers with ``all-linear``."""
EPOCH_ROWS = 240
"""Rows of one epoch of fifteen updates of sixteen."""


def make(options: argparse.Namespace) -> None:
    """Write ``model/``, ``adapter/``, ``rows.jsonl`` (all rows) and ``short.jsonl`` (the shortest) in a folder."""
    folder, alpaca, kind = options.folder, options.data, options.rows
    tokenizer = make_start(folder, size=options.size, top=options.top)
    every = alpaca_rows(alpaca) if alpaca else generated_rows()
    lengths = [len(tokenizer.apply_chat_template(row["messages"], return_dict=True)["input_ids"]) for row in every]
    by_length = sorted(range(len(every)), key=lambda row: (lengths[row], row))
    rows = chosen_rows(kind, every, lengths, by_length)
    write_rows(folder / "rows.jsonl", rows[:EPOCH_ROWS] if options.top else rows)
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


def make_start(folder: Path, *, size: str = "32m", top: bool = False) -> Any:
    """Write ``model/`` and ``adapter/``, which is on the upper layers alone with ``top``; returns the tokenizer."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, shape = make_tokenizer(), SIZES[size]
    model = make_model(shape).to(getattr(torch, shape.stored))
    for part in (tokenizer, model):
        part.save_pretrained(folder / "model")
    make_adapter(model, folder / "adapter", layers=shape.top if top else None)
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


def make_model(size: Size, model: str = "LlamaForCausalLM", **more: Any) -> Any:
    """The Llama as transformers' class ``model``, float32, seed 0; ``more`` goes to its config."""
    import torch
    import transformers

    torch.manual_seed(0)
    return getattr(transformers, model)(
        transformers.LlamaConfig(
            vocab_size=size.vocabulary,
            hidden_size=size.width,
            intermediate_size=size.mlp,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.kv_heads,
            max_position_embeddings=size.positions,
            tie_word_embeddings=size.tied,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            **more,
        )
    )


def make_adapter(model: Any, folder: Path, *, layers: list[int] | None = None, task: str = "CAUSAL_LM") -> None:
    """Save a PEFT adapter on all linears of the blocks (of ``layers``) with small random ``A`` and ``B``."""
    import torch
    from peft import LoraConfig, get_peft_model

    some: dict[str, Any] = {"target_modules": "all-linear"}
    if layers is not None:
        some = {"target_modules": list(LINEARS), "layers_to_transform": layers, "layers_pattern": "layers"}
    elif hasattr(model.base_model, "pooler"):
        some["exclude_modules"] = ["pooler.dense"]
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, task_type=task, **some)
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
    parser.add_argument("--size", default="32m", help=f"one of {', '.join(SIZES)}")
    parser.add_argument("--rows", choices=ROWS, default="alpaca")
    parser.add_argument("--top", action="store_true", help="adapt the upper half of the layers alone")
    return parser.parse_args()


if __name__ == "__main__":
    make(asked())
