"""Whatever answers prompts: the generator in this process, or a server (``generation.remote``).

A sampler is asked with token ids and answers with token ids, so that what is trained on is what was sampled; text only
serves stop strings and readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tunesmith.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen; the settings act in the order given here.

    ``repetition_penalty`` 1 is off: above it the logits of tokens that stand in the prompt or the answer are divided
    (positive) or multiplied (negative) by it (Keskar et al. 2019, CTRL, section 4.1). ``temperature`` 0 is greedy;
    ``top_k`` 0 and ``top_p`` 1 keep every token.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name, value, allowed, fine in (
            ("temperature", self.temperature, "0 (greedy) and above", 0 <= self.temperature < float("inf")),
            ("top_k", self.top_k, "0 (off) and above", self.top_k >= 0),
            ("top_p", self.top_p, "above 0, up to 1", 0 < self.top_p <= 1),
            ("repetition_penalty", self.repetition_penalty, "above 0", 0 < self.repetition_penalty < float("inf")),
        ):
            if not fine:
                raise UserError(f"'{name}' is out of range", got=value, allowed=allowed, code="bad-sampling")


GREEDY = Sampling()


@dataclass(frozen=True)
class Ask:
    """One prompt (token ids) and how it is to be answered: once for each of ``seeds``.

    A seed alone decides what is sampled, whatever else is asked at the same time.
    """

    prompt: Sequence[int]
    seeds: Sequence[int] = (0,)
    sampling: Sampling = GREEDY
    max_new_tokens: int | None = None
    """None for the sampler's own limit."""
    min_new_tokens: int = 0
    """No stop token and no stop string ends an answer of fewer tokens."""
    stop: Sequence[str] = ()
    """An answer ends as soon as its decoded text holds one of these."""
    adapter: str | None = None
    """The adapter to answer with; None for the model as it is."""

    @property
    def plain(self) -> bool:
        """Whether tokens are drawn from the model's own distribution."""
        return self.sampling == Sampling(temperature=1.0) and not self.min_new_tokens


@dataclass(frozen=True)
class Answer:
    """Generated ``ids`` without the token that ended them, if one did.

    ``stop`` says what ended the answer: a stop token's id, a stop string, or None where the length limit did. Tokens
    that spell a stop string were sampled and stay in ``ids``; ``text`` is cut before it.
    """

    ids: list[int]
    stop: int | str | None = None
    logprobs: list[float] | None = None
    """Log-probability of every generated token, the stop token's last, *under the model itself* (temperature 1, no
    filter, no penalty): what the trainer computes. Only where asked for."""
    drawn_logprobs: list[float] | None = None
    """The same under the distribution that was *drawn from* (after penalty, temperature and filters; 0 where greedy):
    the behaviour policy of an off-policy correction. Only where asked for and known."""
    text: str | None = None
    """Decoded ``ids`` before the stop string; None where the sampler cannot decode."""
    seed: int = field(default=0, compare=False)

    @property
    def stopped(self) -> bool:
        """Whether the model ended the answer itself."""
        return self.stop is not None


class Sampler(Protocol):
    """Anything that answers prompts."""

    def sample(self, asks: Sequence[Ask], *, logprobs: bool = False) -> list[list[Answer]]:
        """For each of ``asks`` its answers, in the order of its seeds.

        Raises ``UserError``: ``empty-prompt``, ``prompt-too-long``, and what the sampler names.
        """
        ...
