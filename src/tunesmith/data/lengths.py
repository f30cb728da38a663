"""How long rows are for a base's tokenizer, estimated from a sample without loading torch.

Texts are counted by ``tokenizer.json`` alone, and every turn gets ``AROUND`` tokens for the markers of a template. That
is near enough to choose ``max_tokens`` and ``overlong`` of a first recipe; ``tunesmith data report`` counts exactly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.contracts.data import Record
from tunesmith.recipe.schema import DataConfig

AROUND = 8
"""Tokens that a chat template, or a classifier's special tokens, put around a text."""
USUAL = DataConfig().max_tokens
LONGEST = 2 * USUAL
"""Up to here a first recipe rather computes longer sequences than loses any of them."""
FEW = 0.02
"""Share of rows that may be too long without anything being done about it."""
STEP = 16


@dataclass(frozen=True)
class Fitting:
    """Options of ``data`` for rows of some lengths, each with the reason in words ("" where it is the usual value)."""

    max_tokens: int
    why_tokens: str = ""
    cut: bool = False
    why_cut: str = ""
    answers_lost: float = 0.0
    """Share of rows whose answer would begin beyond ``max_tokens``."""


@dataclass(frozen=True)
class Base:
    """What is read of a model folder without loading the model."""

    tokenizer: Path
    positions: int | None

    @classmethod
    def at(cls, folder: Path) -> Base | None:
        """The base in ``folder``; None where it cannot be seen (a hub id, or no fast tokenizer)."""
        tokenizer, config = folder / "tokenizer.json", folder / "config.json"
        if not tokenizer.is_file():
            return None
        values = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
        found = (values.get(name) for name in ("max_position_embeddings", "n_positions"))
        return cls(tokenizer, next((size for size in found if isinstance(size, int)), None))

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens around it."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.tokenizer))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return [len(one) for one in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def fit_conversations(records: Sequence[Record], base: Base) -> Fitting:
    """``max_tokens`` that holds nearly all of ``records``, or as many as is reasonable, the others cut."""
    counts = iter(base.counts([turn.content for record in records for turn in record.messages or ()]))
    lengths, starts = [], []
    for record in records:
        turns = [(turn.role, next(counts) + AROUND) for turn in record.messages or ()]
        first = next((at for at, (role, _) in enumerate(turns) if role == "assistant"), len(turns))
        lengths.append(sum(count for _, count in turns))
        starts.append(sum(count for _, count in turns[:first]))
    sizes = [min(size, base.positions or LONGEST) for size in (USUAL, LONGEST)]
    limit = next((size for size in sizes if _beyond(lengths, size) <= FEW), sizes[-1])
    why = f"{_beyond(lengths, USUAL):.0%} of the rows looked at are longer than {USUAL} tokens."
    over = _beyond(lengths, limit)
    cut = over > FEW
    return Fitting(
        max_tokens=limit,
        why_tokens=(why if limit > USUAL else f"The model has {limit} positions." if limit < USUAL else ""),
        cut=cut,
        why_cut=f"Cut, because {over:.0%} of the rows looked at are longer than {limit} tokens." if cut else "",
        answers_lost=_beyond(starts, limit - 1),
    )


def fit_labelled(records: Sequence[Record], base: Base) -> Fitting:
    """``max_tokens`` that holds the longest of ``records``, rounded up; longer texts keep their label and are cut."""
    texts = base.counts([text for record in records for text in (record.text or "", record.pair or "")])
    longest = max((sum(pair) for pair in zip(texts[::2], texts[1::2], strict=True)), default=USUAL) + AROUND
    limit = min(-(-longest // STEP) * STEP, USUAL, base.positions or USUAL)
    why = f"The longest of the rows looked at has about {longest} tokens."
    return Fitting(limit, why, cut=True, why_cut="A text that is cut keeps its label.")


def _beyond(lengths: Sequence[int], limit: int) -> float:
    return sum(length > limit for length in lengths) / max(1, len(lengths))
