"""PIQA (Bisk et al. 2020): which of two ways reaches a goal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tunesmith.evaluation.benchmarks.base import Benchmark, Row, letter_or_number
from tunesmith.recipe.schema import Part


class Piqa(Benchmark):
    """Everyday goals with two ways to reach them, one of which works."""

    NAME: ClassVar[str] = "piqa"
    paper: ClassVar[str] = "Bisk et al. 2020, arXiv:1911.11641"
    columns: ClassVar[Mapping[str, str]] = {
        "goal": "what is to be reached",
        "sol1": "a way",
        "sol2": "another way",
        "label": "the right one: 0 or 1",
    }
    metric: ClassVar[str] = "acc_norm"
    metrics: ClassVar[Mapping[str, Part]] = {"acc": Part(name="acc"), "acc_norm": Part(name="acc_norm")}

    def question(self, row: Row, metric: str) -> dict[str, Any]:
        """The goal as a question; the ways are scored as answers."""
        choices = [row["sol1"], row["sol2"]]
        answer = letter_or_number(row["label"], ("0", "1"))
        return {"prompt": f"Question: {row['goal']}\nAnswer:", "choices": choices, "answer": answer}
