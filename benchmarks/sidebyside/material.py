"""What both sides train: a 32-million-parameter Llama, instruction rows, and one saved LoRA adapter to start from.

    python -m sidebyside.material FOLDER [ALPACA_FILE]

Model: hidden 512, 8 layers, 8 query and 4 key-value heads, MLP 1408, tied embeddings, seed 0; its byte-level BPE of
16,000 tokens is trained on Python's own standard library. Rows are alpaca rows as two messages; without a file they are
Seedling's generated instructions. The adapter is not at its usual start (``B = 0``): a zero ``B`` would hide every
mistake in the gradient of ``A``.
"""

from __future__ import annotations

import json
import random
import sys
import sysconfig
from collections.abc import Iterator
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


def make(folder: Path, alpaca: Path | None) -> None:
    """Write ``model/``, ``adapter/``, ``rows.jsonl`` (all rows) and ``short.jsonl`` (the shortest) in ``folder``."""
    tokenizer = make_start(folder)
    rows = alpaca_rows(alpaca) if alpaca else generated_rows()
    lengths = [len(tokenizer.apply_chat_template(row["messages"], return_dict=True)["input_ids"]) for row in rows]
    shortest = sorted(sorted(range(len(rows)), key=lambda row: (lengths[row], row))[:SHORT_ROWS])
    write_rows(folder / "rows.jsonl", rows)
    write_rows(folder / "short.jsonl", [rows[row] for row in shortest])


def make_start(folder: Path) -> Any:
    """Write ``model/`` and ``adapter/``; returns the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer))
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


def make_model(vocabulary: int) -> Any:
    """The Llama, float32, seed 0."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=512,
            intermediate_size=1408,
            num_hidden_layers=8,
            num_attention_heads=8,
            num_key_value_heads=4,
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


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
