"""Benchmarks from files: the form of their rows, one file each.

``TABLE`` maps the names that suites use to classes (``benchmarks.base.Benchmark``).
"""

from tunesmith.registry import Table

TABLE = Table(
    "benchmark",
    {
        "mmlu": "tunesmith.evaluation.benchmarks.mmlu:Mmlu",
        "arc": "tunesmith.evaluation.benchmarks.arc:Arc",
        "hellaswag": "tunesmith.evaluation.benchmarks.hellaswag:HellaSwag",
        "winogrande": "tunesmith.evaluation.benchmarks.winogrande:WinoGrande",
        "piqa": "tunesmith.evaluation.benchmarks.piqa:Piqa",
        "truthfulqa": "tunesmith.evaluation.benchmarks.truthfulqa:TruthfulQa",
        "gsm8k": "tunesmith.evaluation.benchmarks.gsm8k:Gsm8k",
        "humaneval": "tunesmith.evaluation.benchmarks.humaneval:HumanEval",
    },
)
