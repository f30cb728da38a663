"""Prompt folders made by PEFT (or by us: they are the same), attached with their own settings.

A folder holds computed vectors, so a prefix comes back as the plain one it is (`p-tuning-v2`), whatever network made
it. Training may go on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from tunesmith.errors import UserError
from tunesmith.methods.attached_vectors import HEAD, AttachedVectors
from tunesmith.methods.folder import read_adapter
from tunesmith.methods.p_tuning import PTuning
from tunesmith.methods.p_tuning_v2 import PTuningV2
from tunesmith.methods.prompt import Prompt
from tunesmith.methods.vectors import STORED
from tunesmith.recipe.load import validated

KINDS: Mapping[str, type[Prompt | PTuning | PTuningV2]] = {
    "PROMPT_TUNING": Prompt,
    "P_TUNING": PTuning,
    "PREFIX_TUNING": PTuningV2,
}
"""PEFT's ``peft_type`` -> our method."""


def load_prompt(model: nn.Module, folder: Path) -> AttachedVectors:
    """Attach the prompt in ``folder`` to ``model``, with the heads stored beside it.

    Raises ``UserError``: ``not-an-adapter``, ``corrupt-adapter``, ``unsupported-adapter``, ``adapter-mismatch``, and
    what the methods' ``attach`` raises.
    """
    config, tensors = read_adapter(folder)
    kind = KINDS.get(str(config.get("peft_type")))
    if kind is None:
        raise UserError(
            f"{folder} holds no prompt of a kind that is known here",
            got=config.get("peft_type"),
            allowed=sorted(KINDS),
            code="unsupported-adapter",
        )
    if config.get("num_transformer_submodules") not in (None, 1):
        raise UserError(
            f"the prompt in {folder} was made for an encoder-decoder, which virtual tokens are not made for here",
            got=f"vectors for {config['num_transformer_submodules']} stacks of layers",
            allowed="prompts of models with one stack: decoders and encoders",
            hint="For an encoder-decoder train a `lora`.",
            code="unsupported-adapter",
        )
    rows = len(tensors.get(STORED, ()))
    if not rows or config.get("num_virtual_tokens", rows) != rows:
        raise UserError(
            f"the prompt in {folder} is not of one piece: {rows} vectors are stored",
            got=config.get("num_virtual_tokens"),
            allowed=rows or STORED,
            code="adapter-mismatch",
        )
    heads = sorted({name.removeprefix(HEAD).rpartition(".")[0] for name in tensors if name != STORED})
    attached = validated(kind, _fields(config, rows), str(folder)).attach(model, heads=heads)
    try:
        attached.load(folder)
    except UserError:
        attached.remove()
        raise
    return attached


def _fields(config: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"tokens": tokens}
    if config.get("peft_type") == "P_TUNING":
        fields["encoder"] = str(config.get("encoder_reparameterization_type", "MLP")).lower()
        fields["width"] = config.get("encoder_hidden_size")
    return fields
