"""HumanEval (Chen et al. 2021): functions to complete, run against their tests in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tunesmith.evaluation.benchmarks.base import Benchmark, Row
from tunesmith.recipe.schema import Part


class HumanEval(Benchmark):
    """Python functions to complete from their descriptions; `HumanEval.jsonl.gz` of the authors is read as it is."""

    NAME: ClassVar[str] = "humaneval"
    paper: ClassVar[str] = "Chen et al. 2021, arXiv:2107.03374"
    columns: ClassVar[Mapping[str, str]] = {
        "prompt": "the beginning of a program",
        "test": "a program that defines `check(candidate)`",
        "entry_point": "the name of the function",
    }
    metric: ClassVar[str] = "pass@1"
    metrics: ClassVar[Mapping[str, Part]] = {
        "pass@1": Part(name="pass_at_k", k=1, tests="test", entry_point="entry_point", with_prompt=True)
    }
    stop: ClassVar[tuple[str, ...]] = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
    max_new_tokens: ClassVar[int | None] = 1024

    def question(self, row: Row, metric: str) -> dict[str, Any]:
        """The beginning of the program as it is."""
        return {"prompt": row["prompt"], "test": row["test"], "entry_point": row["entry_point"]}
