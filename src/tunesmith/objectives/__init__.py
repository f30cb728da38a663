"""Objectives: what is minimised. ``TABLE`` maps the names recipes use to config classes."""

from tunesmith.registry import Table

TABLE = Table(
    "objective",
    {
        "sft": "tunesmith.objectives.sft:Sft",
        "pretrain": "tunesmith.objectives.pretrain:Pretrain",
        "classify": "tunesmith.objectives.classify:Classify",
        "regress": "tunesmith.objectives.regress:Regress",
        "tokens": "tunesmith.objectives.tokens:Tokens",
        "span": "tunesmith.objectives.span:Span",
    },
)
