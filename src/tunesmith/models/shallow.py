"""A student with some of its teacher's blocks, the same embeddings and the same head (Sanh et al. 2019, section 3).

Blocks are taken as they are, evenly over the depth, so that the student begins near what it is to learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from tunesmith.errors import UserError
from tunesmith.files import whole_folder
from tunesmith.models.layers import block_lists
from tunesmith.models.load import depth, load_model, load_tokenizer


def evenly(blocks: int, kept: int) -> list[int]:
    """``kept`` numbers of ``blocks``, the first and (from two on) the last among them."""
    if kept == 1:
        return [0]
    return [round(at * (blocks - 1) / (kept - 1)) for at in range(kept)]


def write_shallow(base: str, layers: int, out: str | Path) -> list[int]:
    """Write ``base`` with ``layers`` of its blocks into the folder ``out``; which they are.

    Raises ``UserError``: ``bad-layers`` for a number it does not have, ``out-exists``, ``unknown-blocks`` where its
    blocks are not found, and what loading raises.
    """
    blocks = depth(base)
    if blocks is None or not 1 <= layers <= blocks:
        raise UserError(
            f"{base} cannot be cut to {layers} layers", got=layers, allowed=f"1 to {blocks}", code="bad-layers"
        )
    if Path(out).exists():
        raise UserError(
            f"{out} is there already and is not overwritten",
            hint="Name another folder, or delete it first: other runs may stand on it.",
            code="out-exists",
        )
    chosen = evenly(blocks, layers)
    model = load_model(base)
    keep_blocks(model, chosen)
    with whole_folder(Path(out)) as folder:
        model.save_pretrained(folder)
        load_tokenizer(base).save_pretrained(folder)
    return chosen


def keep_blocks(model: Any, chosen: Sequence[int]) -> None:
    """Leave only the blocks ``chosen``, in place, and say so in the model's config."""
    config = model.config.get_text_config()
    found = block_lists(model)
    if len(found) != 1:
        raise UserError(
            f"the blocks of {type(model).__name__} are not found",
            got=f"{len(found)} lists of {config.num_hidden_layers} modules",
            allowed="a model with one list of blocks",
            code="unknown-blocks",
        )
    kept = nn.ModuleList(found[0].blocks[number] for number in chosen)
    for number, block in enumerate(kept):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number  # type: ignore[assignment]  # an attribute of transformers' modules
    setattr(found[0].parent, found[0].name, kept)
    config.num_hidden_layers = len(kept)
    kinds = getattr(config, "layer_types", None)
    if kinds:
        config.layer_types = [kinds[number] for number in chosen]
