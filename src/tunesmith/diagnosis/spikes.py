"""Spikes of the loss: single updates far outside of what their neighbours vary by, with the rows they were made of.

The distance is measured in median absolute deviations of the loss's logarithm from its running median, which a spike
itself hardly moves: the larger of the neighbours' and of all updates' is taken, as twenty neighbours can be alike by
chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from statistics import median

from tunesmith.diagnosis.history import Evidence, Finding, History, Point

WINDOW = 10
"""Neighbours on each side."""
DEVIATIONS = 8.0
TIMES = 1.6
"""A spike is also so many times the running median."""
FEWEST = 30
SMALLEST = 1e-6
SHOWN, ROWS = 3, 2
MANY = 5


def look(history: History) -> Finding | None:
    """Updates whose loss stands out, and the rows of each with the highest loss now."""
    spikes = found(history.losses)
    if not spikes:
        return None
    evidence: list[Evidence] = []
    for point, usual in spikes[:SHOWN]:
        text = f"update {point.step:,}: loss {point.value:.3g} where {usual:.3g} was usual"
        evidence.append(Evidence(text, point.source("loss")))
        rows = list(history.rows_of(point.step))[:ROWS] if history.rows_of is not None else []
        evidence += [Evidence(f"{row.where} (loss {row.loss:.3g} now): {row.text}") for row in rows]
    first, count = spikes[0][0], len(spikes)
    counted = f"{count} updates had a loss" if count > 1 else f"Update {first.step:,} had a loss"
    return Finding(
        "loss-spikes",
        "warn" if count >= MANY else "note",
        f"{counted} far above that of the updates around.",
        "Look at the rows below: broken text, another language, or endless repetition usually stands behind a spike. "
        "A lower train.clip limits what one such update can do.",
        evidence,
    )


def found(losses: Sequence[Point]) -> list[tuple[Point, float]]:
    """``(point, running median)`` of every spike, the highest first; the first updates still fall and are left out."""
    if len(losses) < FEWEST:
        return []
    values = [log(max(point.value, SMALLEST)) for point in losses]
    first = max(WINDOW, len(values) // 20)
    near = {place: values[max(0, place - WINDOW) : place] + values[place + 1 : place + 1 + WINDOW]
            for place in range(first, len(values))}  # fmt: skip
    middles = {place: median(some) for place, some in near.items()}
    everywhere = median(abs(values[place] - middle) for place, middle in middles.items())
    spikes = []
    for place, middle in middles.items():
        deviation = max(everywhere, median(abs(value - middle) for value in near[place]))
        if values[place] - middle > max(DEVIATIONS * deviation, log(TIMES)):
            spikes.append((losses[place], exp(middle)))
    return sorted(spikes, key=lambda spike: -spike[0].value / spike[1])
