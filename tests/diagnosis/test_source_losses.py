"""Training losses by source: read from the record, and what they say about the order of rows."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from logs import RECIPE

from tunesmith.diagnosis.diagnose import findings
from tunesmith.diagnosis.history import History
from tunesmith.diagnosis.sources import by_source, mean

Shares = Callable[[int], float]
"""Update -> the share of its units that is the first source's."""


def run(first: Callable[[int], float], second: Callable[[int], float], shares: Shares, *, steps: int = 120) -> History:
    """Updates of 1000 tokens of two sources whose losses are ``first`` and ``second`` with 3% of noise."""
    drawn = random.Random(0)
    events: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        counts = {"one": 1000 * shares(step), "two": 1000 * (1 - shares(step))}
        losses = {"one": first(step) * math.exp(drawn.gauss(0, 0.03)), "two": second(step)}
        terms = {f"nll/{name}": losses[name] for name in losses if counts[name]}
        loss = sum(losses[name] * counts[name] for name in losses) / 1000
        told = {f"nll/{name}": counts[name] for name in losses if counts[name]}
        events.append(
            {"kind": "step", "step": step, "loss": loss, "norm": 1.0, "epoch": step / 200,
             "terms": {"nll": loss, **terms}, "counts": {"nll": 1000.0, **told}}
        )  # fmt: skip
    return History(events, RECIPE)


def test_losses_weighed_by_their_units_are_the_updates_loss() -> None:
    found = run(lambda _: 2.0, lambda _: 4.0, lambda step: 0.25 if step % 2 else 1.0)
    seen = by_source(found.events)
    assert {name: len(some) for name, some in seen.items()} == {"one": 120, "two": 60}
    for point in found.losses:
        parts = [one for some in seen.values() for one in some if one.step == point.step]
        assert sum(one.loss * one.share for one in parts) == pytest.approx(point.value)
        assert sum(one.share for one in parts) == pytest.approx(1.0)
    whole = [one for some in seen.values() for one in some]
    assert mean(whole) == pytest.approx(sum(point.value for point in found.losses) / 120)
    assert by_source([{"kind": "step", "step": 1, "loss": 1.0}]) == {}


def test_several_losses_are_told_apart() -> None:
    terms = {"nll": 1.0, "odds": 2.0, "nll/a": 1.0, "odds/a": 2.0, "acc/x": 3.0}
    events = [{"kind": "step", "step": 1, "loss": 3.0, "terms": terms, "counts": dict.fromkeys(terms, 4.0)}]
    assert set(by_source(events)) == {"a (nll)", "a (odds)"}


def phases(step: int) -> float:
    return 1.0 if step <= 40 or step > 80 else 0.0


def test_a_source_that_comes_back_unlearned() -> None:
    def first(step: int) -> float:
        return 3.0 * math.exp(-step / 15) + 0.5 if step <= 40 else 0.5 + 1.5 * math.exp(-(step - 81) / 15)

    found = run(first, lambda step: 3.0 * math.exp(-(step - 40) / 15) + 0.5, phases)
    order = next(one for one in findings(found) if one.name == "order-effects")
    (evidence,) = order.evidence
    assert "the training loss on one was" in evidence.text
    assert "until update 40" in evidence.text
    assert "came again in update 81" in evidence.text
    assert evidence.source == "events.jsonl#/80/terms/nll~1one"


@pytest.mark.parametrize("why", ["mixed", "comes back as it left", "a small source", "a short while"])
def test_sources_that_are_healthy(why: str) -> None:
    def falling(step: int) -> float:
        return 0.5 + 2.0 * math.exp(-step / 30)

    rising = {"a small source": lambda step: 1.0 if step <= 40 else 3.0}.get(why, falling)
    shares: dict[str, Shares] = {
        "mixed": lambda step: 0.3 + 0.4 * (step % 3) / 2,
        "comes back as it left": phases,
        "a small source": lambda step: 0.05 * phases(step),
        "a short while": lambda step: 0.0 if 40 < step <= 44 else 1.0,
    }
    found = run(rising, falling, shares[why])
    assert "order-effects" not in [one.name for one in findings(found)]
