"""The files that make a transformers folder one of sentence-transformers: pooling, then length 1."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tunesmith.files import write_json

MODULES = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
"""Its modules in their order, and their folders."""
POOLING = {"first": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "last": "pooling_mode_lasttoken"}


def write(folder: Path, *, size: int, pooling: Literal["mean", "first", "last"], longest: int) -> None:
    """Add them to ``folder``: vectors of ``size``, texts of at most ``longest`` tokens."""
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
        for number, (name, path) in enumerate(MODULES.items())
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
    for path in filter(None, MODULES.values()):
        (folder / path).mkdir()
    modes = {key: name == pooling for name, key in POOLING.items()}
    write_json(folder / MODULES["Pooling"] / "config.json", {"word_embedding_dimension": size, **modes})
