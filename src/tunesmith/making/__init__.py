"""Rows made by a model. ``TABLE`` maps the names that ``tunesmith make`` uses to config classes.

    row (its *parent*) -> the model's answers -> what is kept of them -> rows, pairs, and a ledger of the rest

A maker is one file: a config whose ``ready`` gives a function from numbers of parents to what came of them. The driver
(``produce``) knows no maker by name; it writes in order, counts, and goes on where it was stopped.
"""

from tunesmith.registry import Table

TABLE = Table(
    "maker",
    {
        "best-of": "tunesmith.making.best_of:BestOf",
        "constitutional": "tunesmith.making.constitutional:Constitutional",
        "self-instruct": "tunesmith.making.self_instruct:SelfInstruct",
        "failures": "tunesmith.making.failures:Failures",
        "paraphrase": "tunesmith.making.paraphrase:Paraphrase",
        "questions": "tunesmith.making.questions:Questions",
    },
)
