"""What both sides sample answers to: the model and adapter of ``material``, and prompts; and the reward of an answer.

    python -m sidebyside.prompts FOLDER [ALPACA_FILE] [--size 32m]

Prompts are those of the shorter instructions. The model is a random one and ends no answer by itself, so
that all answers are of the full length on either side and what is timed is the same work.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidebyside.material import alpaca_rows, asked, generated_rows, make_start, write_rows

LONGEST = 64
"""Tokens of a prompt at most."""
ANSWERS, NEW_TOKENS = 8, 64
"""Answers to a prompt, and tokens of each at most."""


def make(folder: Path, data: Path | None, *, size: str) -> None:
    """Write ``model/``, ``adapter/``, ``rows.jsonl`` and ``short.jsonl`` (the same: answers are what takes time)."""
    tokenizer = make_start(folder, size=size)
    every = alpaca_rows(data) if data else generated_rows()
    # we take the prompt out of a conversation with its answer; the other side has a column for it
    rows = [{"prompt": row["messages"][:1], **row} for row in every]
    sizes = [len(tokenizer.apply_chat_template(row["prompt"], return_dict=True)["input_ids"]) for row in rows]
    for name in ("rows.jsonl", "short.jsonl"):
        write_rows(folder / name, [row for row, size in zip(rows, sizes, strict=True) if size <= LONGEST])


def reward(answer: str) -> float:
    """How many different characters an answer has, in hundreds: any function that tells random answers apart."""
    return len(set(answer)) / 100


def own_rewards(samples: Sequence[Any]) -> list[float]:
    """``reward`` as Tunesmith's reward ``python`` calls it."""
    return [reward(sample.answer) for sample in samples]


if __name__ == "__main__":
    options = asked()
    make(options.folder, options.data, size=options.size)
