"""Steps that clean rows before they become tokens. ``TABLE`` maps the names recipes use to config classes.

A step is one file: a frozen config whose ``look`` judges one row, or whose ``choose`` judges rows beside each other.
``pipeline.curate`` runs steps over files. Third parties join through entry points of ``tunesmith.curate-steps``.
"""

from tunesmith.registry import Table

TABLE = Table(
    "curate-step",
    {
        "reviewed": "tunesmith.data.curate.reviewed:Reviewed",
        "unicode": "tunesmith.data.curate.unicode:Unicode",
        "markup": "tunesmith.data.curate.markup:Markup",
        "roles": "tunesmith.data.curate.roles:Roles",
        "length": "tunesmith.data.curate.length:Length",
        "quality": "tunesmith.data.curate.quality:Quality",
        "language": "tunesmith.data.curate.language:Language",
        "toxicity": "tunesmith.data.curate.toxicity:Toxicity",
        "pii": "tunesmith.data.curate.pii:Pii",
        "exact-dedup": "tunesmith.data.curate.exact_dedup:ExactDedup",
        "near-dedup": "tunesmith.data.curate.near_dedup:NearDedup",
        "conflicts": "tunesmith.data.curate.conflicts:Conflicts",
        "decontaminate": "tunesmith.data.curate.decontaminate:Decontaminate",
        "label-noise": "tunesmith.data.curate.label_noise:LabelNoise",
        "outliers": "tunesmith.data.curate.outliers:Outliers",
        "semantic-dedup": "tunesmith.data.curate.semantic_dedup:SemanticDedup",
        "perplexity": "tunesmith.data.curate.perplexity:Perplexity",
        "difficulty": "tunesmith.data.curate.difficulty:Difficulty",
        "reward-score": "tunesmith.data.curate.reward_score:RewardScore",
        "judge-score": "tunesmith.data.curate.judge_score:JudgeScore",
        "toxicity-model": "tunesmith.data.curate.toxicity_model:ToxicityModel",
        "pii-model": "tunesmith.data.curate.pii_model:PiiModel",
        "balance": "tunesmith.data.curate.balance:Balance",
    },
)
