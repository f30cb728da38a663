"""transformers' own ``Trainer``: on conversations of which answers carry loss, and on texts with a label.

What a user of it writes: rows made to tokens once, batches padded to their longest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidebyside.material import MAX_TOKENS
from sidebyside.peer import Setting, adapted, base, common, rows, tokenizer
from sidebyside.texts import LABELS

IGNORED = -100


class Padded:
    """Batches of rows ``{input_ids, labels}``, padded on the right; ``tokens`` counts the real ones of each."""

    def __init__(self, padding: int) -> None:
        self.padding = padding
        self.tokens: list[int] = []

    def __call__(self, some: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """``input_ids``, ``attention_mask`` and ``labels``, as models of transformers take them."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        self.tokens.append(sum(len(row["input_ids"]) for row in some))

        def padded(name: str, value: int) -> torch.Tensor:
            return pad_sequence([torch.tensor(row[name]) for row in some], batch_first=True, padding_value=value)

        each = isinstance(some[0]["labels"], list)
        return {
            "input_ids": padded("input_ids", self.padding),
            "attention_mask": pad_sequence([torch.ones(len(row["input_ids"])) for row in some], batch_first=True),
            "labels": padded("labels", IGNORED) if each else torch.tensor([row["labels"] for row in some]),
        }


def sft(options: dict[str, Any], setting: Setting) -> Any:
    """Of conversations: the labels of what the assistant says."""
    words = tokenizer(options)

    def read(row: dict[str, Any]) -> dict[str, Any]:
        found = words.apply_chat_template(row["messages"], return_dict=True, return_assistant_tokens_mask=True)
        ids, spoken = found["input_ids"][:MAX_TOKENS], found["assistant_masks"][:MAX_TOKENS]
        labels = [one if own else IGNORED for one, own in zip(ids, spoken, strict=True)]
        return {"input_ids": ids, "labels": labels, "length": len(ids)}

    return trainer(base(options, setting), read, options, setting)


def classify(options: dict[str, Any], setting: Setting) -> Any:
    """Of texts with a label; a decoder reads the end of text last."""
    words = tokenizer(options)
    end = "" if words.sep_token else words.eos_token

    def read(row: dict[str, Any]) -> dict[str, Any]:
        ids = words(row["text"] + end)["input_ids"][:MAX_TOKENS]
        return {"input_ids": ids, "labels": LABELS.index(row["label"]), "length": len(ids)}

    return trainer(base(options, setting, "AutoModelForSequenceClassification"), read, options, setting)


def trainer(model: Any, read: Any, options: dict[str, Any], setting: Setting) -> Any:
    """The trainer of ``model``, with its adapter, on the rows as ``read`` reads them."""
    from transformers import Trainer, TrainingArguments

    data = rows(options)
    grouped = options.get("order") == "group_by_length"
    return Trainer(
        model=adapted(model, options),
        args=TrainingArguments(remove_unused_columns=not grouped, **common(options, setting)),
        train_dataset=data.map(read, remove_columns=data.column_names),
        data_collator=Padded(tokenizer(options).pad_token_id),
    )
