"""Rows for tests, and the objective they are encoded with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunesmith.contracts.data import Encoder, Encoding, Record


def encode_answers(record: Record, encoder: Encoder) -> list[Encoding]:
    if record.text is not None:
        return encoder.text(record.text, max_tokens=64)
    return encoder.conversation(record, "answers")


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pair(number: int, answer: str = "the answer is two") -> dict[str, str]:
    return {"instruction": f"what is the word {number}?", "output": f"{answer} {number}"}
