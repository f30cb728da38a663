"""P-tuning v2: trained keys and values in every layer, without a network over them (Liu et al. 2022, arXiv:2110.07602).

    O = softmax(Q [K_p ; K]ᵀ · s + mask) [V_p ; V]        trained: K_p, V_p [K, P, D] of each layer

They start as the keys and values that the base computes for real words, which Li and Liang 2021 (section 7.4) find much
better than random ones; the paper's own code draws from N(0, 1).

Several tasks share one base: ``remove()`` one prefix and ``insert()`` another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from tunesmith.methods.attachment import HeadRate
from tunesmith.methods.deep import AttachedPrefix, begin
from tunesmith.methods.vectors import Vectors
from tunesmith.recipe.base import PartConfig


class PTuningV2(PartConfig):
    """Trains keys and values that every token sees in every layer; the base stays as it is."""

    NAME: ClassVar[str] = "p-tuning-v2"
    paper: ClassVar[str] = "https://arxiv.org/abs/2110.07602"
    use: ClassVar[str] = (
        "Labelling with a frozen encoder or decoder: near full fine-tuning with vectors in every layer."
    )
    usual_rate: ClassVar[float] = 5e-2

    tokens: Annotated[int, Field(gt=0)] = 20
    """How many tokens the prefix has. Simple tasks need fewer, labelling of tokens about 100."""
    start: Literal["vocabulary", "random"] = "vocabulary"
    """What the prefix starts as: keys and values of words drawn from the vocabulary, or random ones."""
    text: str = ""
    """A text whose keys and values the prefix starts as, its words repeated or cut to fit, instead of `start`."""
    head_rate: HeadRate = 0.2
    """What multiplies the learning rate for new heads (a classifier), which want less than the vectors."""

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedPrefix:
        """Freeze ``model`` and give its layers a prefix; drawn from torch's global generator.

        Raises ``UserError``: ``already-attached``, ``no-room``, ``no-prompt-here``, ``no-prefix-here``,
        ``no-tokenizer``.
        """
        layers, table = begin(model, self.tokens, self.text)
        if self.start == "random" and not self.text:
            table = torch.randn(table.shape).to(table)
        return AttachedPrefix(model, Vectors(table), layers, heads=heads, head_rate=self.head_rate)
