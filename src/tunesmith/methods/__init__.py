"""How parameters are trained: one file a method, one line here."""

from tunesmith.registry import Table

TABLE = Table(
    "method",
    {
        "adapter": "tunesmith.methods.adapter:Adapter",
        "full": "tunesmith.methods.full:Full",
        "freeze": "tunesmith.methods.freeze:Freeze",
        "fusion": "tunesmith.methods.fusion:Fusion",
        "lora": "tunesmith.methods.lora:Lora",
        "progressive": "tunesmith.methods.progressive:Progressive",
    },
)
