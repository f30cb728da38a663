"""Looks inside a tuned model: changed weights, attention, what layers hold, which rows moved an answer.

Each look is a file: a function of a ``subject.Subject`` that gives plain numbers (JSON), which the terminal shows as
tables and the report as pictures.
"""

from tunesmith.registry import Table

LOOKS = Table(
    "look",
    {
        "weights": "tunesmith.insight.weights:look",
        "importance": "tunesmith.insight.importance:look",
        "activations": "tunesmith.insight.activations:look",
        "attention": "tunesmith.insight.attention:look",
        "lens": "tunesmith.insight.lens:look",
        "tokens": "tunesmith.insight.tokens:look",
        "contributions": "tunesmith.insight.contributions:look",
        "influence": "tunesmith.insight.influence:look",
    },
)
"""What to look at -> the function that looks."""
