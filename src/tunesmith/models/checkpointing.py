"""Activation checkpointing: a layer's inside is computed again in the backward pass, and only its input is kept
(Chen et al. 2016, arXiv:1604.06174).

The trap: transformers lets the embeddings' output require a gradient with it, so that backward would recompute and pass
all layers, down to the embeddings, whatever is frozen. Checkpoints that are not re-entrant do not need that.
"""

from __future__ import annotations

from typing import Any


def recompute(model: Any) -> None:
    """Switch it on for every layer of the transformers ``model``; backward still ends at the lowest trained layer."""
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.disable_input_require_grads()
