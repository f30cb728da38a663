"""ARC (Clark et al. 2018): science questions for schools; the texts of the choices are scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tunesmith.evaluation.benchmarks.base import Benchmark, Row
from tunesmith.recipe.schema import Part


class Arc(Benchmark):
    """Science questions of grades 3 to 9, easy and challenge; three to five choices."""

    NAME: ClassVar[str] = "arc"
    paper: ClassVar[str] = "Clark et al. 2018, arXiv:1803.05457"
    columns: ClassVar[Mapping[str, str]] = {
        "question": "the question",
        "choices": "{text: [...], label: [A, B, ...]}",
        "answerKey": "the label of the right one",
    }
    metric: ClassVar[str] = "acc_norm"
    metrics: ClassVar[Mapping[str, Part]] = {"acc": Part(name="acc"), "acc_norm": Part(name="acc_norm")}

    def question(self, row: Row, metric: str) -> dict[str, Any]:
        """The question alone; the choices are scored as answers."""
        choices = row["choices"]
        answer = list(choices["label"]).index(row["answerKey"])
        return {"prompt": f"Question: {row['question']}\nAnswer:", "choices": list(choices["text"]), "answer": answer}
