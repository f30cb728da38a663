"""The training loss of each data source, as the updates told it: a loss, and over how many units it is a mean.

An update's loss is the mean of its sources' losses, each weighed by its units; so are means over several updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any


@dataclass(frozen=True)
class Seen:
    """A source in one update: the mean ``loss`` of its ``units``, which are ``share`` of the update's.

    ``place`` is the event's line in the record (from 0), ``term`` the key of the loss there.
    """

    step: int
    loss: float
    units: float
    share: float
    place: int
    term: str

    @property
    def source(self) -> str:
        """Where the loss stands."""
        key = self.term.replace("~", "~0").replace("/", "~1").replace(" ", "%20")
        return f"events.jsonl#/{self.place}/terms/{key}"


def by_source(events: Sequence[Mapping[str, Any]]) -> dict[str, list[Seen]]:
    """Every source's updates in their order; empty where losses are not told by source.

    Of an objective with several losses each is told apart, with its name behind the source's.
    """
    found: dict[tuple[str, str], list[Seen]] = {}
    for place, event in enumerate(events):
        if event["kind"] != "step":
            continue
        terms, counts = event.get("terms") or {}, event.get("counts") or {}
        for term, loss in terms.items():
            head, _, name = term.partition("/")
            if not name or head not in terms or loss is None or not counts.get(term):
                continue
            units = float(counts[term])
            seen = Seen(event["step"], float(loss), units, units / (float(counts[head]) or 1.0), place, term)
            found.setdefault((head, name), []).append(seen)
    several = len({head for head, _ in found}) > 1
    return {f"{name} ({head})" if several else name: seen for (head, name), seen in found.items()}


def mean(seen: Sequence[Seen]) -> float:
    """The mean loss over all units of some updates."""
    units = fsum(one.units for one in seen)
    return fsum(one.loss * one.units for one in seen) / units if units else 0.0
