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
        "peft": "tunesmith.methods.peft:Peft",
        "progressive": "tunesmith.methods.progressive:Progressive",
        "adalora": "tunesmith.methods.adalora:Adalora",
        "ia3": "tunesmith.methods.ia3:Ia3",
        "bitfit": "tunesmith.methods.bitfit:Bitfit",
        "norms": "tunesmith.methods.norms:Norms",
        "prompt": "tunesmith.methods.prompt:Prompt",
        "p-tuning": "tunesmith.methods.p_tuning:PTuning",
        "prefix": "tunesmith.methods.prefix:PrefixTuning",
        "p-tuning-v2": "tunesmith.methods.p_tuning_v2:PTuningV2",
    },
)
