"""Single answers that are wanted or not (KTO's rows), from pairs and ranked answers: the best is wanted, the rest not.

The trap: a pair says that one answer is better than the other, not that it is good. What is lost is the pair; what is
gained are rows that can be balanced and mixed with single ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from tunesmith.data.convert import converted
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow
from tunesmith.making.base import Made, Parent
from tunesmith.making.building.base import RowBuilder


class Marks(RowBuilder):
    """Make single answers, wanted or not, of pairs and of ranked answers."""

    NAME: ClassVar[str] = "marks"

    threshold: float | None = None
    """Answers with at least this score are wanted; by default the best one is."""

    def build(self, parent: Parent, number: int, prepared: Any) -> Made:
        """A row an answer."""
        found = parent.record.candidates
        if len(found) < 2:
            raise BadRow("the row has no two rated answers")
        if self.threshold is not None and any(one.score is None for one in found):
            raise BadRow("its answers have no scores")
        meta = {name: value for name, value in parent.record.meta.items() if name != "made"}
        rows = []
        for rank, one in enumerate(found, start=1):
            wanted = rank == 1 if self.threshold is None else (one.score or 0.0) >= self.threshold
            record = replace(parent.record, candidates=(replace(one, score=float(wanted)),), meta=meta)
            made = {**parent.origin(self.NAME), "rank": rank}
            rows.append({**converted(record, FORMATS.load("unpaired")), "made": made})
        return Made(rows)
