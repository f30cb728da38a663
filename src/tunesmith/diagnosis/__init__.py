"""What the record of a run says about its health: a file an ailment, with evidence and advice.

Rules read what a run folder holds (``history.History``) and touch no model. Adding one
is a file and a line of ``RULES``.
"""

from tunesmith.registry import Table

RULES = Table(
    "diagnosis",
    {
        "rate-too-high": "tunesmith.diagnosis.rate_high:look",
        "rate-too-low": "tunesmith.diagnosis.rate_low:look",
        "overfitting": "tunesmith.diagnosis.overfitting:look",
        "underfitting": "tunesmith.diagnosis.underfitting:look",
        "loss-spikes": "tunesmith.diagnosis.spikes:look",
        "order-effects": "tunesmith.diagnosis.order:look",
        "forgetting": "tunesmith.diagnosis.forgetting:look",
        "collapse": "tunesmith.diagnosis.collapse:look",
        "instructions-lost": "tunesmith.diagnosis.instructions:look",
        "suspect-labels": "tunesmith.diagnosis.labels:look",
    },
)
"""Ailment -> the function that looks for it, the gravest first."""
