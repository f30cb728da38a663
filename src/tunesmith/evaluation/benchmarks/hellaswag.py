"""HellaSwag (Zellers et al. 2019): which of four endings goes on from a scene."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from tunesmith.evaluation.benchmarks.base import Benchmark, Row
from tunesmith.recipe.schema import Part


class HellaSwag(Benchmark):
    """Everyday scenes with four endings, three of them written by a machine to mislead."""

    NAME: ClassVar[str] = "hellaswag"
    paper: ClassVar[str] = "Zellers et al. 2019, arXiv:1905.07830"
    columns: ClassVar[Mapping[str, str]] = {
        "activity_label": "what it is about",
        "ctx_a": "the scene",
        "ctx_b": "the beginning of its last sentence",
        "endings": "a list of four texts",
        "label": "the right one: 0 to 3",
    }
    metric: ClassVar[str] = "acc_norm"
    metrics: ClassVar[Mapping[str, Part]] = {"acc": Part(name="acc"), "acc_norm": Part(name="acc_norm")}

    def question(self, row: Row, metric: str) -> dict[str, Any]:
        """The scene; the endings are scored."""
        scene = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
        return {
            "prompt": _clean(scene),
            "choices": [_clean(one) for one in row["endings"]],
            "answer": int(row["label"]),
        }


def _clean(text: str) -> str:
    """Without the marks that the WikiHow part carries, as every published number has it."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")
