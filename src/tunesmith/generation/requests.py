"""What is asked of a generator and what it answers.

Every request draws its random numbers from its own seed, so its answer does not depend on which requests share a batch
with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from tunesmith.errors import UserError
from tunesmith.generation.sampling import GREEDY, Sampling, choose, chosen_logprobs


@dataclass(frozen=True)
class Answer:
    """Generated ``ids`` without the token that ended them (``stop``; None where the length limit did)."""

    ids: list[int]
    stop: int | None = None
    logprobs: list[float] | None = None
    """Log-probability under the model of every generated token, the stop token's last; only where asked for."""

    @property
    def stopped(self) -> bool:
        """Whether the model ended the answer itself."""
        return self.stop is not None


@dataclass
class Request:
    """One prompt on its way to an answer; ``number`` is its place among the prompts."""

    number: int
    prompt: Sequence[int]
    limit: int
    """Most new tokens."""
    rng: np.random.Generator
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop: int | None = None

    @property
    def done(self) -> bool:
        """Whether nothing more is to be generated."""
        return self.stop is not None or len(self.ids) >= self.limit

    def answer(self, *, logprobs: bool) -> Answer:
        """What was generated."""
        return Answer(self.ids, self.stop, self.logprobs if logprobs else None)


@dataclass(frozen=True)
class Rules:
    """How the tokens of all requests of one call are chosen, and which of them end an answer."""

    stop_ids: frozenset[int]
    sampling: Sampling = GREEDY
    logprobs: bool = False

    def extend(self, requests: Sequence[Request], logits: torch.Tensor) -> list[int]:
        """Choose the next token of every request from ``logits [N, V]`` and append it; returns the tokens."""
        drawn = [request.rng.random() for request in requests] if self.sampling.temperature else [0.0] * len(requests)
        uniforms = torch.tensor(drawn, dtype=torch.float64, device=logits.device)
        chosen = choose(logits, uniforms, self.sampling)
        tokens: list[int] = chosen.tolist()
        if self.logprobs:
            for request, logprob in zip(requests, chosen_logprobs(logits, chosen).tolist(), strict=True):
                request.logprobs.append(logprob)
        for request, token in zip(requests, tokens, strict=True):
            if token in self.stop_ids:
                request.stop = token
            else:
                request.ids.append(token)
        return tokens


def requests_of(
    prompts: Sequence[Sequence[int]], seeds: Sequence[int], *, max_new_tokens: int, context: int | None
) -> list[Request]:
    """Requests, longest prompt first; an answer may not go beyond the model's ``context``.

    Raises ``UserError``: ``empty-prompt``, ``prompt-too-long``.
    """
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts")
    requests = []
    for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        room = max_new_tokens if context is None else min(max_new_tokens, context - len(prompt))
        if not prompt:
            raise UserError(
                f"prompt {number + 1} has no token",
                hint="Generation needs at least one token to start from, such as the beginning-of-text token.",
                code="empty-prompt",
            )
        if room < 1:
            raise UserError(
                f"prompt {number + 1} leaves no room for an answer",
                got=f"{len(prompt)} tokens",
                allowed=f"fewer than {context}, the model's context",
                hint="Shorten the prompt.",
                code="prompt-too-long",
            )
        requests.append(Request(number, prompt, room, np.random.default_rng(seed)))
    return sorted(requests, key=lambda request: -len(request.prompt))
