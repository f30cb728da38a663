"""What steps may ask of models. ``run`` opens the models and hands in a ``Models``: this folder loads none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tunesmith.contracts.data import Record
from tunesmith.contracts.reward import Reward

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts -> vectors ``[n, d]`` of length 1."""
Classify = Callable[[Sequence[str]], list[dict[str, float]]]
"""Texts -> the probability of each label, a mapping a text."""


@dataclass(frozen=True)
class Surprise:
    """How a language model reads an answer, in nats a token: after its question, and alone; ``tokens`` of it."""

    asked: float
    alone: float
    tokens: int


Read = Callable[[Sequence[Record]], "list[Surprise | None]"]
"""Records -> how surprising their last answers (or their plain texts) are; None for what the model cannot read."""


@dataclass(frozen=True)
class Span:
    """Characters ``start`` to ``end`` of a text, and what they are said to be."""

    start: int
    end: int
    kind: str


Tag = Callable[[Sequence[str]], list[list[Span]]]
"""Texts -> the named things in each."""


class Models(Protocol):
    """Opens models by name: a folder, a run, or a hub id. Each raises ``UserError`` for what it cannot open."""

    def encoder(self, name: str) -> Embed:
        """A text encoder."""
        ...

    def language(self, name: str, max_tokens: int) -> Read:
        """A language model; sequences are cut to ``max_tokens``."""
        ...

    def reward(self, path: str) -> Reward:
        """A reward model."""
        ...

    def judge(self, options: Mapping[str, Any]) -> Reward:
        """A language model on a server as judge; ``options`` are those of the reward `judge`."""
        ...

    def classifier(self, name: str) -> Classify:
        """A text classifier."""
        ...

    def tagger(self, name: str) -> Tag:
        """A tagger of tokens."""
        ...
