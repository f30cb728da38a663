"""Objectives: what is minimised. ``TABLE`` maps the names recipes use to config classes."""

from tunesmith.registry import Table

TABLE = Table(
    "objective",
    {
        "sft": "tunesmith.objectives.sft:Sft",
        "pretrain": "tunesmith.objectives.pretrain:Pretrain",
    },
)
