"""Pure functions from answers and losses to numbers, and how sure those numbers are.

``TABLE`` maps the names that suites use to config classes. Entries are import strings: metrics that score as a reward
does, or run programs, live in ``evaluation``, above both.
"""

from tunesmith.registry import Table

TABLE = Table(
    "metric",
    {
        "exact_match": "tunesmith.metrics.exact_match:ExactMatch",
        "f1": "tunesmith.metrics.f1:TokenF1",
        "numeric": "tunesmith.evaluation.numeric_match:NumericMatch",
        "bleu": "tunesmith.metrics.bleu:Bleu",
        "chrf": "tunesmith.metrics.chrf:Chrf",
        "rouge1": "tunesmith.metrics.rouge:Rouge1",
        "rouge2": "tunesmith.metrics.rouge:Rouge2",
        "rougeL": "tunesmith.metrics.rouge:RougeL",
        "pass_at_k": "tunesmith.evaluation.programs:PassAtK",
        "distinct": "tunesmith.metrics.distinct:Distinct",
        "repetition": "tunesmith.metrics.repetition:Repetition",
        "length": "tunesmith.metrics.length:Length",
        "refusal": "tunesmith.metrics.refusal:Refusal",
        "abstains": "tunesmith.metrics.abstains:Abstains",
        "follows": "tunesmith.metrics.follows:Follows",
        "continues": "tunesmith.metrics.continues:Continues",
        "extracted": "tunesmith.metrics.extracted:Extracted",
        "acc": "tunesmith.metrics.choice:Acc",
        "acc_norm": "tunesmith.metrics.choice:AccNorm",
        "mc2": "tunesmith.metrics.choice:Mc2",
        "group_gap": "tunesmith.metrics.group_gap:GroupGap",
        "perplexity": "tunesmith.metrics.perplexity:Perplexity",
        "bits_per_byte": "tunesmith.metrics.perplexity:BitsPerByte",
    },
)
