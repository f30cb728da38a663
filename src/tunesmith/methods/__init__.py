"""How parameters are trained: one file a method, one line here."""

from tunesmith.registry import Table

TABLE = Table(
    "method",
    {
        "full": "tunesmith.methods.full:Full",
        "freeze": "tunesmith.methods.freeze:Freeze",
        "lora": "tunesmith.methods.lora:Lora",
    },
)
