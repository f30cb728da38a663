"""Prefix tuning: trained keys and values in every layer, made by a network (Li and Liang 2021, arXiv:2101.00190).

    [K_p, V_p of all layers] = start + W₂ tanh(W₁ e + b₁) + b₂     (section 4.3)      trained: e [P, K·D], W, b

The network makes training stable and is dropped afterwards; what is stored are the keys and values it computed, which
PEFT reads as a prefix without projection. ``start`` are the keys and values that the base computes for real words
(section 7.4: much better than random with few examples); then ``W₂`` and ``b₂`` start at zero. Shapes are those of
PEFT's ``PrefixEncoder``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from tunesmith.methods.deep import AttachedPrefix, begin
from tunesmith.methods.vectors import Vectors, rest
from tunesmith.recipe.base import PartConfig


class PrefixTuning(PartConfig):
    """Trains keys and values of every layer through a network that is dropped afterwards; the base stays as it is."""

    NAME: ClassVar[str] = "prefix"
    paper: ClassVar[str] = "https://arxiv.org/abs/2101.00190"
    use: ClassVar[str] = (
        "Generation tasks on a shared base: more to train than a prompt, and still only vectors to ship."
    )
    usual_rate: ClassVar[float] = 1e-3  # the network moves every vector by hundreds of its own updates

    tokens: Annotated[int, Field(gt=0)] = 20
    """How many tokens the prefix has. The paper uses 10 for table-to-text and 200 for summaries."""
    width: Annotated[int, Field(gt=0)] = 512
    """Inner width of the network. The paper uses 512 and 800."""
    start: Literal["vocabulary", "random"] = "vocabulary"
    """What the prefix starts as: keys and values of words drawn from the vocabulary, or what a random network makes."""
    text: str = ""
    """A text whose keys and values the prefix starts as, its words repeated or cut to fit, instead of `start`."""

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedPrefix:
        """Freeze ``model`` and give its layers a prefix; drawn from torch's global generator.

        Raises ``UserError``: ``already-attached``, ``no-room``, ``no-prompt-here``, ``no-prefix-here``,
        ``no-tokenizer``.
        """
        layers, start = begin(model, self.tokens, self.text)
        size = start.shape[1] // (2 * len(layers))
        network = nn.Sequential(nn.Linear(size, self.width), nn.Tanh(), nn.Linear(self.width, start.shape[1]))
        drawn = self.start == "random" and not self.text
        if not drawn:
            rest(network)
        vectors = Vectors(torch.randn(self.tokens, size), network, None if drawn else start)
        return AttachedPrefix(model, vectors.to(start), layers, heads=heads)
