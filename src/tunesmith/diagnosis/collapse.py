"""Collapse: answers repeat themselves, or are the same whatever is asked.

Repetition is the share of word 4-grams that an answer said before (Welleck et al. 2020, arXiv:1908.04319). Sampled
answers of reinforcement collapse as the entropy of their tokens goes to zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tunesmith.diagnosis.history import Evidence, Finding, History

FEWEST = 8
REPEATED, MORE = 0.3, 0.15
"""The mean repetition afterwards, and how much above the base's and the wanted answers'."""
SAME = 0.4
"""Share of different questions that got one and the same answer."""
ENTROPY = 0.1
"""Share of its first value that the entropy of sampled answers fell to."""


def look(history: History) -> Finding | None:
    """Repetition, sameness, or vanished entropy that was not there before and is not wanted."""
    evidence = [*_repetition(history), *_sameness(history), *_entropy(history)]
    if not evidence:
        return None
    return Finding(
        "collapse",
        "bad",
        "The model's answers collapsed: it repeats itself or says the same whatever it is asked.",
        "Lower train.learning_rate, train for fewer epochs, and drop repeated rows (`curate: [{name: near-dedup}]`); "
        "in reinforcement raise objective.temperature or the weight of the KL term.",
        evidence,
    )


def repetition(text: str, n: int = 4) -> float:
    """Share of the runs of ``n`` words that stood before; 0 where there are too few words."""
    words = text.split()
    runs = [tuple(words[place : place + n]) for place in range(len(words) - n + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _answers(marks: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = marks.get("answers") or ()
    return found if len(found) >= FEWEST else ()


def _repetition(history: History) -> list[Evidence]:
    after, before = _answers(history.after), _answers(history.before)
    if not after:
        return []
    now = fmean(repetition(row["answer"]) for row in after)
    wanted = fmean(repetition(row["reference"]) for row in after)
    then = fmean(repetition(row["answer"]) for row in before) if before else 0.0
    if now <= REPEATED or now - max(wanted, then if then < REPEATED else 0.0) <= MORE:
        return []
    worst = max(range(len(after)), key=lambda place: repetition(after[place]["answer"]))
    return [
        Evidence(f"{now:.0%} of the word sequences in its answers are repetitions ({then:.0%} in the base's)"),
        Evidence(f"for example: {after[worst]['answer'][:120]}", f"eval/after.json#/answers/{worst}/answer"),
    ]


def _sameness(history: History) -> list[Evidence]:
    after = _answers(history.after)
    if not after:
        return []
    (said, often) = Counter(row["answer"].strip() for row in after).most_common(1)[0]
    wanted = Counter(row["reference"].strip() for row in after).most_common(1)[0][1]
    if often / len(after) < SAME or often < 2 * wanted:
        return []
    return [Evidence(f"{often} of {len(after)} different questions got the answer: {said[:120] or '(nothing)'}")]


def _entropy(history: History) -> list[Evidence]:
    points = history.points("rollout", "entropy")
    if len(points) < 3 or points[0].value <= 0 or points[-1].value > ENTROPY * points[0].value:
        return []
    first, last = points[0], points[-1]
    return [Evidence(f"the entropy of sampled answers fell from {first.value:.3g} to {last.value:.3g} nats a token",
                     last.source("entropy"))]  # fmt: skip
