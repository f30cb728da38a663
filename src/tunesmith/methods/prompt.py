"""Prompt tuning: a few trained vectors in front of every sequence (Lester et al. 2021, arXiv:2104.08691).

    y = model([p_1 … p_P ; embed(x)])        trained: p [P, d]

They start as embeddings of words, of a text or drawn from the vocabulary, which the paper finds better than random
(figure 3b). The largest models learn most from them: for small ones prefer methods that reach every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from tunesmith.methods.attachment import HeadRate
from tunesmith.methods.vectors import Vectors, check_base, start_ids
from tunesmith.methods.virtual import AttachedPrompt
from tunesmith.recipe.base import PartConfig


class Prompt(PartConfig):
    """Trains vectors that stand in front of every sequence like words; the base stays as it is."""

    NAME: ClassVar[str] = "prompt"
    paper: ClassVar[str] = "https://arxiv.org/abs/2104.08691"
    use: ClassVar[str] = (
        "Very large bases and many small tasks: a few vectors a task, and the base is shared by all of them."
    )
    usual_rate: ClassVar[float] = 3e-2

    tokens: Annotated[int, Field(gt=0)] = 20
    """How many virtual tokens; every sequence becomes longer by as many."""
    start: Literal["vocabulary", "random"] = "vocabulary"
    """What the vectors start as: embeddings of words drawn from the vocabulary, or random ones of the same spread."""
    text: str = ""
    """A text whose words the vectors start as, repeated or cut to fit, instead of `start`."""
    head_rate: HeadRate = 0.3
    """What multiplies the learning rate for new heads (a classifier), which want less than the vectors."""

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedPrompt:
        """Freeze ``model`` and put vectors in front of its inputs; drawn from torch's global generator.

        Raises ``UserError``: ``already-attached``, ``no-room``, ``no-prompt-here``, ``no-tokenizer``.
        """
        check_base(model, self.tokens)
        return PromptTuning(model, Vectors(self._start(model)), heads=heads, head_rate=self.head_rate)

    @torch.no_grad()
    def _start(self, model: Any) -> torch.Tensor:
        ids = start_ids(model, self.tokens, self.text)
        words: torch.Tensor = model.get_input_embeddings()(ids).clone()
        return torch.randn_like(words) * words.std() if self.start == "random" and not self.text else words


class PromptTuning(AttachedPrompt):
    """The vectors on a model."""

    PEFT = "PROMPT_TUNING"

    def file_config(self) -> dict[str, Any]:
        """PEFT's further entries."""
        return super().file_config() | {"prompt_tuning_init": "RANDOM"}
