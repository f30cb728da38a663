"""The two metrics of every exam by name: each ``(answer: str, reference: str) -> float`` in 0..1, larger is better."""

from __future__ import annotations

from tunesmith.registry import Table

METRICS = Table(
    "exam-score",
    {
        "exact_match": "tunesmith.metrics.exact_match:exact_match",
        "f1": "tunesmith.metrics.f1:token_f1",
    },
)
