"""WinoGrande (Sakaguchi et al. 2020): who is meant? Both names are put into the gap, and the rest is scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tunesmith.evaluation.benchmarks.base import Benchmark, Row
from tunesmith.recipe.schema import Part


class WinoGrande(Benchmark):
    """Sentences with a gap that one of two names fills; what follows the gap is scored after each."""

    NAME: ClassVar[str] = "winogrande"
    paper: ClassVar[str] = "Sakaguchi et al. 2020, arXiv:1907.10641"
    columns: ClassVar[Mapping[str, str]] = {
        "sentence": "a text with a gap `_`",
        "option1": "the first name",
        "option2": "the second name",
        "answer": "the right one: 1 or 2",
    }
    metric: ClassVar[str] = "acc"
    metrics: ClassVar[Mapping[str, Part]] = {"acc": Part(name="acc")}

    def question(self, row: Row, metric: str) -> dict[str, Any]:
        """Two contexts, one continuation."""
        before, gap, after = row["sentence"].partition("_")
        if not gap:
            raise ValueError("its sentence has no gap '_'")
        return {
            "contexts": [before + row["option1"], before + row["option2"]],
            "continuation": after.strip(),
            "answer": {"1": 0, "2": 1}[str(row["answer"])],
        }
