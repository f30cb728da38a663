"""The ledger: what became of every row, why, and how much of the data that is.

Counts add up to the last row: ``rows = kept + cut + split + dropped``. Every row that is not simply kept is listed; a
row that is not listed was kept whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tunesmith.files import write_json

Status = Literal["kept", "cut", "split", "dropped"]
STATUSES: tuple[Status, ...] = ("kept", "cut", "split", "dropped")
CURATED = "curate "
"""How the reason of a row begins that a step of ``data.curate`` dropped: ``curate length: fewer than 3 words``."""
LEAK = "its prompt is in the validation rows"
LATER = "it is like a row of validation or test"
BETWEEN = "it is like rows on both sides of the split"
HELD_BACK = (LEAK, LATER, BETWEEN)
"""Why rows are on no side of a split: for fear of leaks, and not because anything is wrong with them."""
LOST = "the tokenizer loses characters"
JOINED = "prompt and completion are joined as they are, without a chat template"
SPELLED = "its text spells a special token and is read as that token"
IMAGES = "it has images, and no model that Tunesmith trains reads any yet"
UNWRITTEN = "it has reasoning, and the chat template does not write it: nothing learns from it"
EXAMPLES = 3


@dataclass(frozen=True)
class Entry:
    """One row that was not simply kept: its number over all sources, its source and line, what happened and why."""

    row: int
    source: int
    line: int
    status: Status
    reason: str


@dataclass(frozen=True)
class Example:
    """A row shown for a reason: ``file``, ``line`` and the beginning of the row."""

    file: str
    line: int
    text: str


@dataclass
class SourceCount:
    """One source: how it was read and what became of its rows."""

    path: str
    format: str
    why: str
    validation: bool = False
    kept: int = 0
    cut: int = 0
    split: int = 0
    dropped: int = 0

    @property
    def rows(self) -> int:
        """All rows of the source."""
        return self.kept + self.cut + self.split + self.dropped

    def count(self, status: Status, rows: int = 1) -> None:
        """Count ``rows`` more of ``status``."""
        setattr(self, status, getattr(self, status) + rows)


@dataclass
class Ledger:
    """Totals, reasons, notes, examples and the list of rows that were not simply kept."""

    sources: list[SourceCount]
    entries: list[Entry] = field(default_factory=list)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    """What happened to rows besides, such as ``expanded turn``; a row may have several."""
    lost_characters: Counter[str] = field(default_factory=Counter)
    """Character -> rows in which the tokenizer loses it."""
    sequences: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    trained_tokens: dict[str, int] = field(default_factory=dict)
    """By side: ``train``, ``validation``."""

    @property
    def rows(self) -> int:
        """All rows read."""
        return sum(source.rows for source in self.sources)

    def total(self, status: Status) -> int:
        """Rows of ``status`` over all sources."""
        return sum(getattr(source, status) for source in self.sources)

    @property
    def reasons(self) -> Counter[str]:
        """``status: reason`` -> rows."""
        return Counter(f"{entry.status}: {entry.reason}" for entry in self.entries)

    @property
    def ordered_reasons(self) -> dict[str, int]:
        """The same, what curation dropped first, then the most frequent."""
        curated = f"dropped: {CURATED}"
        return dict(sorted(self.reasons.items(), key=lambda item: (not item[0].startswith(curated), -item[1])))

    @property
    def lost_share(self) -> float:
        """Dropped rows over all rows; what curation dropped or validation holds back is meant, and not lost."""
        meant = sum(one.status == "dropped" and one.reason.startswith((CURATED, *HELD_BACK)) for one in self.entries)
        return (self.total("dropped") - meant) / max(self.rows, 1)

    def add(self, entry: Entry, example: Example) -> None:
        """List a row that was not simply kept, and count it."""
        self.sources[entry.source].count(entry.status)
        self.entries.append(entry)
        self._show(entry.reason, example)

    def note(self, note: str, example: Example) -> None:
        """Count a row of which ``note`` is true, whatever becomes of it."""
        self.notes[note] += 1
        self._show(note, example)

    def _show(self, reason: str, example: Example) -> None:
        shown = self.examples.setdefault(reason, [])
        if len(shown) < EXAMPLES:
            shown.append(example)

    def hold_back(self, held: Iterable[Entry]) -> None:
        """Drop rows that a split leaves out, whatever was said of them before."""
        by_row = {entry.row: entry for entry in held}
        before = {entry.row: entry.status for entry in self.entries if entry.row in by_row}
        for row, entry in by_row.items():
            self.sources[entry.source].count(before.get(row, "kept"), -1)
            self.sources[entry.source].count("dropped")
        self.entries = [entry for entry in self.entries if entry.row not in by_row]
        self.entries += by_row.values()

    def merge(self, part: Ledger) -> None:
        """Add another part of the same data."""
        for mine, other in zip(self.sources, part.sources, strict=True):
            for status in STATUSES:
                mine.count(status, getattr(other, status))
        self.entries += part.entries
        for reason, shown in part.examples.items():
            held = self.examples.setdefault(reason, [])
            held += shown[: EXAMPLES - len(held)]
        self.notes += part.notes
        self.lost_characters += part.lost_characters

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {
            "rows": self.rows,
            **{status: self.total(status) for status in STATUSES},
            "lost_share": self.lost_share,
            "reasons": self.ordered_reasons,
            "notes": dict(self.notes.most_common()),
            "lost_characters": dict(self.lost_characters.most_common(100)),
            "sequences": self.sequences,
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "sources": [{**asdict(source), "rows": source.rows} for source in self.sources],
            "examples": {reason: [asdict(one) for one in shown] for reason, shown in self.examples.items()},
            "not_simply_kept": [list(asdict(entry).values()) for entry in self.entries],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Ledger:
        """What ``to_json`` gave."""
        sources = [SourceCount(**{key: one[key] for key in one if key != "rows"}) for one in value["sources"]]
        examples = {reason: [Example(**one) for one in shown] for reason, shown in value["examples"].items()}
        return cls(
            sources,
            [Entry(*entry) for entry in value["not_simply_kept"]],
            examples,
            Counter(value["notes"]),
            Counter(value["lost_characters"]),
            dict(value["sequences"]),
            dict(value["tokens"]),
            dict(value["trained_tokens"]),
        )

    def save(self, path: Path) -> None:
        """Write the ledger as JSON, atomically."""
        write_json(path, self.to_json())

    def summary_lines(self) -> list[str]:
        """The ledger in a few sentences."""
        lines = [f"{source.path}: {source.rows:,} rows, {source.format} ({source.why})" for source in self.sources]
        counts = ", ".join(f"{self.total(status):,} {status}" for status in STATUSES)
        lines.append(f"{self.rows:,} rows: {counts}")
        for reason, count in self.ordered_reasons.items():
            lines.append(f"  {count:,} {reason}")
            lines += self._first_example(reason.partition(": ")[2])
        worst = " ".join(character for character, _ in self.lost_characters.most_common(12))
        for note, count in self.notes.most_common():
            lines.append(f"  note: {note} ({count:,} rows)" + (f": {worst}" if note == LOST else ""))
            lines += self._first_example(note)
        for side, tokens in self.tokens.items():
            if not self.sequences[side]:
                continue
            share = self.trained_tokens[side] / max(tokens, 1)
            lines.append(f"{side}: {self.sequences[side]:,} sequences, {tokens:,} tokens, {share:.0%} of them trained")
        return lines

    def _first_example(self, reason: str) -> list[str]:
        shown = self.examples.get(reason, ())
        return [f"    {Path(one.file).name} line {one.line}: {one.text}" for one in shown[:1]]


def short(value: Any, *, around: str = "") -> str:
    """A piece of a row, on one line: its beginning, or where ``around`` stands in it."""
    text = " ".join(str(value).split())
    start = max(0, text.find(around) - 40)
    cut = text[start : start + 100]
    return ("…" if start else "") + cut + ("…" if start + 100 < len(text) else "")


def empty_like(sources: Iterable[SourceCount]) -> Ledger:
    """A ledger of the same sources with nothing counted."""
    return Ledger([SourceCount(one.path, one.format, one.why, one.validation) for one in sources])


def top_reasons(ledger: Ledger, count: int = 3) -> Sequence[str]:
    """The most frequent reasons for drops, with their rows."""
    drops = Counter(entry.reason for entry in ledger.entries if entry.status == "dropped")
    return [f"{reason} ({rows:,} rows)" for reason, rows in drops.most_common(count)]
