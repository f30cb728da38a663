"""Requests on their way to answers.

Every request draws its random numbers from its own seed, so its answer does not depend on which requests share a batch
with it. Requests with one prompt (``Group``) share its computation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from tunesmith.contracts.sampler import Answer, Ask, Sampling
from tunesmith.errors import UserError


@dataclass
class Request:
    """One answer under way; ``sample`` is its place among the answers to its prompt."""

    group: Group
    sample: int
    seed: int
    rng: np.random.Generator
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    drawn_logprobs: list[float] = field(default_factory=list)
    stop: int | str | None = None
    text: str | None = None

    @property
    def prompt(self) -> Sequence[int]:
        """Token ids of the prompt."""
        return self.group.ask.prompt

    @property
    def sampling(self) -> Sampling:
        """How its tokens are chosen."""
        return self.group.ask.sampling

    @property
    def limit(self) -> int:
        """Most new tokens."""
        return self.group.limit

    @property
    def done(self) -> bool:
        """Whether nothing more is to be generated."""
        return self.stop is not None or len(self.ids) >= self.group.limit

    @property
    def may_stop(self) -> bool:
        """Whether the next token may end it."""
        return len(self.ids) >= self.group.ask.min_new_tokens

    def answer(self, *, logprobs: bool) -> Answer:
        """What was generated."""
        own, drawn = (self.logprobs, self.drawn_logprobs) if logprobs else (None, None)
        return Answer(self.ids, self.stop, own, drawn, self.text, self.seed)


@dataclass
class Group:
    """The requests of one prompt; ``number`` is its place among the prompts, ``limit`` the most new tokens."""

    number: int
    ask: Ask
    limit: int
    waiting: deque[Request] = field(default_factory=deque)
    """Those that have not begun."""
    logits: torch.Tensor | None = None
    """``[V]`` after the prompt, once it is computed: each request draws its first token from them."""


def groups_of(
    asks: Sequence[tuple[int, Ask]], *, max_new_tokens: int, context: int | None, decodes: bool
) -> list[Group]:
    """Groups of the numbered ``asks``, longest prompt first; an answer may not go beyond the model's ``context``.

    Raises ``UserError``: ``empty-prompt``, ``prompt-too-long``, ``bad-limit``, ``cannot-decode``.
    """
    groups = []
    for number, ask in asks:
        wanted = max_new_tokens if ask.max_new_tokens is None else ask.max_new_tokens
        room = wanted if context is None else min(wanted, context - len(ask.prompt))
        _check(number, ask, wanted, room, context)
        if ask.stop and not decodes:
            raise UserError("stop strings need a tokenizer", hint="Give the generator 'decode'.", code="cannot-decode")
        group = Group(number, ask, room)
        group.waiting.extend(
            Request(group, sample, seed, np.random.default_rng(seed)) for sample, seed in enumerate(ask.seeds)
        )
        groups.append(group)
    return sorted((group for group in groups if group.waiting), key=lambda group: -len(group.ask.prompt))


def _check(number: int, ask: Ask, wanted: int, room: int, context: int | None) -> None:
    if not ask.prompt:
        raise UserError(
            f"prompt {number + 1} has no token",
            hint="Generation needs at least one token to start from, such as the beginning-of-text token.",
            code="empty-prompt",
        )
    if wanted < 1:
        raise UserError("'max_new_tokens' is out of range", got=wanted, allowed="1 and above", code="bad-limit")
    if room < 1:
        raise UserError(
            f"prompt {number + 1} leaves no room for an answer",
            got=f"{len(ask.prompt)} tokens",
            allowed=f"fewer than {context}, the model's context",
            hint="Shorten the prompt.",
            code="prompt-too-long",
        )
    if "" in ask.stop or isinstance(ask.stop, str):
        raise UserError("stop strings are a list of texts, none of them empty", got=repr(ask.stop), code="bad-stop")
