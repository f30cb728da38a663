"""Labels that look wrong: rows that the tuned model, good at the rest, finds far less likely than everything else.

Northcutt, Jiang & Chuang 2021 (arXiv:1911.00068): a row whose label a model rejects with confidence, where it is right
about most others, is more often mislabelled than hard. Losses are compared on the scale of their own median absolute
deviation; a row whose text the base found as unlikely is merely odd, and left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from tunesmith.diagnosis.history import Evidence, Finding, History, Row

FEWEST = 20
DEVIATIONS = 6.0
NATS = 1.5
"""A suspect's loss lies above the median by at least this (e^1.5: 4.5 times less likely) …"""
ROSE = 0.25
"""… and training did not lower it, but for this much less than it lowered the others' (share)."""
GAINED, RIGHT = 0.2, 0.7
"""The model is good at the others: its loss on most fell by so much, or so many labels are those it would give."""
SHOWN = 8
MANY = 0.02


def look(history: History) -> Finding | None:
    """Rows whose answer or label the tuned model contradicts."""
    rows = history.rows
    suspects = suspicious(rows)
    if not suspects:
        return None
    share = len(suspects) / len(rows)
    evidence = [Evidence(_words(row)) for row in suspects[:SHOWN]]
    return Finding(
        "suspect-labels",
        "warn" if share >= MANY else "note",
        f"{len(suspects)} of {len(rows)} rows that were looked at have an answer or label which the tuned model, good "
        "at the others, finds very unlikely.",
        "Read the rows below; correct or remove those that are wrong, and train again.",
        evidence,
    )


def suspicious(rows: Sequence[Row]) -> list[Row]:
    """Suspects, the least likely first."""
    if len(rows) < FEWEST:
        return []
    losses = [row.loss for row in rows]
    middle = median(losses)
    deviation = median(abs(loss - middle) for loss in losses)
    gains = [(row.base - row.loss) / row.base for row in rows if row.base]
    usual = median(gains) if gains else None
    if not _good(rows, usual):
        return []
    found = [row for row in rows if row.loss - middle > max(NATS, DEVIATIONS * deviation) and _resists(row, usual)]
    return sorted(found, key=lambda row: -row.loss)


def _good(rows: Sequence[Row], gain: float | None) -> bool:
    """Whether the model knows the others: most labels are its own, or most rows gained clearly over the base."""
    labelled = [row.label == row.said for row in rows if row.label]
    if labelled:
        return sum(labelled) >= RIGHT * len(labelled)
    return gain is not None and gain >= GAINED


def _resists(row: Row, usual: float | None) -> bool:
    """Whether training moved it much less than the others (where that is known)."""
    if row.label and row.said:
        return row.label != row.said
    if usual is None or not row.base:
        return True
    return (row.base - row.loss) / row.base < usual * ROSE


def _words(row: Row) -> str:
    said = f"labelled {row.label}, the model says {row.said}; " if row.label else ""
    return f"{row.where} ({said}loss {row.loss:.3g}): {row.text}"
