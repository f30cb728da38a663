"""What a person said of rows, and the names that rows are known by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunesmith.data.curate.base import Item
from tunesmith.errors import UserError

Answer = Literal["keep", "drop"]


@dataclass(frozen=True)
class Verdict:
    """What a person said of the row that ``key`` knows; ``line`` is where it stood then."""

    key: str
    line: int
    verdict: Answer
    note: str = ""


def read_verdicts(file: Path) -> dict[str, Verdict]:
    """Row -> its last verdict; half a last line of a killed process is passed over."""
    found: dict[str, Verdict] = {}
    lines = file.read_text(encoding="utf-8").rstrip("\n").split("\n") if file.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            verdict = Verdict(**json.loads(line))
        except (ValueError, TypeError):
            if number == len(lines):
                continue
            raise UserError(
                f"line {number} of {file} is no verdict",
                got=line[:80],
                hint="It is written by `tunesmith data review`; take the line out.",
                code="bad-review",
            ) from None
        found[verdict.key] = verdict
    return found


def key_of(item: Item) -> str:
    """What a row says, as a short name."""
    return hashlib.blake2b(text_of(item), digest_size=12).hexdigest()


def text_of(item: Item) -> bytes:
    """Everything a row says."""
    return "\x00".join(item.texts).encode(errors="surrogatepass")
