"""GSM8K (Cobbe et al. 2021): word problems; the answer is generated and its number is compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tunesmith.evaluation.benchmarks.base import Benchmark, Row
from tunesmith.recipe.schema import Part

FLEXIBLE = r"(-?[$0-9.,]{2,})|(-?[0-9]+)"


class Gsm8k(Benchmark):
    """Word problems for schools with worked answers that end in `#### 18`."""

    NAME: ClassVar[str] = "gsm8k"
    paper: ClassVar[str] = "Cobbe et al. 2021, arXiv:2110.14168"
    columns: ClassVar[Mapping[str, str]] = {
        "question": "the problem",
        "answer": "the worked answer, ending in `#### N`",
    }
    metric: ClassVar[str] = "strict-match"
    metrics: ClassVar[Mapping[str, Part]] = {
        "strict-match": Part(name="extracted"),
        "flexible-extract": Part(name="extracted", pattern=FLEXIBLE, pick=-1),
    }
    stop: ClassVar[tuple[str, ...]] = ("Question:", "</s>", "<|im_end|>")
    max_new_tokens: ClassVar[int | None] = 256

    def question(self, row: Row, metric: str) -> dict[str, Any]:
        """The problem; lm-eval puts five solved ones in front (`shots: 5`)."""
        return {"prompt": f"Question: {row['question']}\nAnswer:", "answer": str(row["answer"])}
