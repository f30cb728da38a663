"""What both sides train where answers are compared: the model and adapter of ``material``, and pairs of answers.

    python -m sidebyside.pairs FOLDER [FILE] [--size 32m]

``FILE`` is a JSON list of rows with ``instruction``, ``input``, ``chosen`` and ``rejected``, or with a one-turn
conversation and two answers as ``{from, value}``; without one the pairs are Seedling's generated instructions, each
with the answer to the next one as the worse answer.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from sidebyside.material import SHORT_ROWS, asked, make_start, write_rows

GENERATED_PAIRS = 1000


def make(folder: Path, file: Path | None, *, size: str = "32m") -> None:
    """Write ``model/``, ``adapter/``, ``rows.jsonl`` (all pairs) and ``short.jsonl`` (the shortest) in ``folder``."""
    tokenizer = make_start(folder, size=size)
    rows = pairs_of(file) if file else generated_pairs()
    for row in rows:
        answers = (row["prompt"] + row[name] for name in ("chosen", "rejected"))
        row["length"] = max(len(tokenizer.apply_chat_template(one, return_dict=True)["input_ids"]) for one in answers)
    shortest = sorted(sorted(range(len(rows)), key=lambda row: (rows[row]["length"], row))[:SHORT_ROWS])
    write_rows(folder / "rows.jsonl", rows)
    write_rows(folder / "short.jsonl", [rows[row] for row in shortest])


def pairs_of(file: Path) -> list[dict[str, Any]]:
    """The pairs of a JSON list whose answers differ and are not empty."""
    read = [turns_of(row) for row in json.loads(file.read_text(encoding="utf-8"))]
    return [
        pair(question, chosen, rejected)
        for question, chosen, rejected in read
        if question and chosen and rejected and chosen != rejected
    ]


def turns_of(row: dict[str, Any]) -> tuple[str, str, str]:
    """Question, better and worse answer of a row in either form; an empty question where there are several turns."""
    if "conversations" in row:
        (first, *more), answers = row["conversations"], [row[name]["value"] for name in ("chosen", "rejected")]
        question = "" if more else first["value"]
    else:
        question = "\n".join(filter(None, (row["instruction"], row.get("input"))))
        answers = [row[name] for name in ("chosen", "rejected")]
    return question, answers[0].strip(), answers[1].strip()


def generated_pairs() -> list[dict[str, Any]]:
    """Pairs of Seedling's own instructions."""
    from tunesmith.models.seedling import instruction_set

    drawn = [row["messages"] for row in instruction_set("all", seed=0, split="train", n=GENERATED_PAIRS + 1)]
    turns = [(messages[-2]["content"], messages[-1]["content"]) for messages in drawn]
    return [pair(question, right, wrong) for (question, right), (_, wrong) in pairwise(turns) if right != wrong]


def pair(question: str, chosen: str, rejected: str) -> dict[str, Any]:
    """A row that both sides read."""
    return {
        "prompt": [{"role": "user", "content": question.strip()}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


if __name__ == "__main__":
    options = asked()
    make(options.folder, options.data, size=options.size)
