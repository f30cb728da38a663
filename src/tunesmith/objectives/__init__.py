"""Objectives: what is minimised. ``TABLE`` maps the names recipes use to config classes."""

from tunesmith.registry import Table

TABLE = Table(
    "objective",
    {
        "sft": "tunesmith.objectives.sft:Sft",
        "pretrain": "tunesmith.objectives.pretrain:Pretrain",
        "classify": "tunesmith.objectives.classify:Classify",
        "regress": "tunesmith.objectives.regress:Regress",
        "multi": "tunesmith.objectives.multi:Multi",
        "tokens": "tunesmith.objectives.tokens:Tokens",
        "span": "tunesmith.objectives.span:Span",
        "embed": "tunesmith.objectives.embed:Embed",
        "distill": "tunesmith.objectives.distill:Distill",
        "dpo": "tunesmith.objectives.dpo:Dpo",
        "simpo": "tunesmith.objectives.simpo:Simpo",
        "cpo": "tunesmith.objectives.cpo:Cpo",
        "orpo": "tunesmith.objectives.orpo:Orpo",
        "kto": "tunesmith.objectives.kto:Kto",
        "reward": "tunesmith.objectives.reward:Reward",
        "grpo": "tunesmith.objectives.grpo:Grpo",
        "ppo": "tunesmith.objectives.ppo:Ppo",
    },
)
