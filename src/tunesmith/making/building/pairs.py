"""Pairs of answers: from ranked answers every two that differ, from single marked answers a wanted and an unwanted one.

    y_i over y_j  where score_i − score_j > margin,  i < j        all of them, neighbours only, or best against worst

Single answers (KTO's rows) are paired within their question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunesmith.contracts.data import Candidate
from tunesmith.data.convert import converted
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow
from tunesmith.making.base import Made, Parent
from tunesmith.making.building.base import RowBuilder, group


class Pairs(RowBuilder):
    """Make pairs of chosen and rejected answers, of ranked answers or of answers that are marked."""

    NAME: ClassVar[str] = "pairs"

    which: Literal["all", "neighbours", "ends"] = "all"
    """Of ranked answers: `all` pairs, `neighbours` in rank, or the best with the worst (`ends`)."""
    margin: Annotated[float, Field(ge=0.0)] = 0.0
    """Scores must differ by more than this, where answers have scores."""

    def prepared(self, parents: Sequence[Parent]) -> dict[int, list[Parent]]:
        """Unwanted answers by their question."""
        found: dict[int, list[Parent]] = defaultdict(list)
        for parent in parents:
            if len(parent.record.candidates) == 1 and parent.record.candidates[0].score == 0.0:
                found[group(parent)].append(parent)
        return found

    def build(self, parent: Parent, number: int, prepared: dict[int, list[Parent]]) -> Made:
        """A row a pair."""
        found = parent.record.candidates
        if len(found) > 1:
            pairs = [(found[better], found[worse]) for better, worse in self._places(len(found))]
            pairs = [(one, other) for one, other in pairs if self._apart(one, other)]
            rows = [self._row(parent, one, other, {}) for one, other in pairs]
            return Made(rows, dropped=[] if rows else ["no two answers differ enough"])
        if not found or found[0].score is None or parent.record.spans:
            raise BadRow("the row has no rated answers")
        if found[0].score == 0.0:
            return Made()
        others = [(other, other.record.candidates[0]) for other in prepared[group(parent)]]
        rows = [
            self._row(parent, found[0], unwanted, {"with": other.place})
            for other, unwanted in others
            if unwanted.messages != found[0].messages
        ]
        return Made(rows, dropped=[] if rows else ["no unwanted answer to the same question"])

    def _places(self, count: int) -> list[tuple[int, int]]:
        if self.which == "ends":
            return [(0, count - 1)]
        last = 2 if self.which == "neighbours" else count
        return [(one, other) for one in range(count) for other in range(one + 1, min(one + last, count))]

    def _apart(self, one: Candidate, other: Candidate) -> bool:
        return one.score is None or other.score is None or one.score - other.score > self.margin

    def _row(self, parent: Parent, one: Candidate, other: Candidate, further: dict[str, Any]) -> dict[str, Any]:
        meta = {name: value for name, value in parent.record.meta.items() if name != "made"}
        record = replace(parent.record, candidates=(one, other), meta=meta)
        return {**converted(record, FORMATS.load("preference")), "made": parent.origin(self.NAME) | further}
