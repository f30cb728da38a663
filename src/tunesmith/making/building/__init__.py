"""Rows built from rows without a model. ``TABLE`` maps the names that ``tunesmith data build`` uses to config classes.

A builder is one file: a config whose ``build`` makes something of one parent (or of it beside the others). What drives
it is what drives makers (``making.produce``): in order, counted, resumable, each row with its parent.
"""

from tunesmith.registry import Table

TABLE = Table(
    "builder",
    {
        "instructions": "tunesmith.making.building.instructions:Instructions",
        "wordings": "tunesmith.making.building.wordings:Wordings",
        "few-shot": "tunesmith.making.building.few_shot:FewShot",
        "negatives": "tunesmith.making.building.negatives:Negatives",
        "noise": "tunesmith.making.building.noise:Noise",
        "entities": "tunesmith.making.building.entities:Entities",
        "turns": "tunesmith.making.building.turns:Turns",
        "chunks": "tunesmith.making.building.chunks:Chunks",
        "pairs": "tunesmith.making.building.pairs:Pairs",
        "marks": "tunesmith.making.building.marks:Marks",
    },
)
