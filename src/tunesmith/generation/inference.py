"""A model at rest: no gradients, no dropout, and everything as it was afterwards.

``no_grad`` and not ``inference_mode``: tables that attention caches while generating are used again in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Within it ``model`` is in eval mode without gradients; every submodule gets its own mode back."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
