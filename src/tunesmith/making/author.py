"""Whoever answers: conversations in, texts out, over any ``contracts.sampler.Sampler`` (this process or a server)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunesmith.contracts.data import Encoder, Message
from tunesmith.contracts.sampler import Answer, Ask, Sampler, Sampling

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Question:
    """A conversation to answer, once for each of ``seeds``; ``raw`` is joined as it is, without a template."""

    messages: tuple[Message, ...]
    seeds: tuple[int, ...]
    raw: bool = False

    @property
    def text(self) -> str:
        """Its turns as a person reads them."""
        return "\n".join(message.content for message in self.messages)


@dataclass(frozen=True)
class Written:
    """An answer: ``text`` without blanks around it; ``whole`` where the model ended it, rather than the limit."""

    text: str
    tokens: int
    whole: bool


@dataclass(frozen=True)
class Author:
    """A model that answers; ``context`` is the most tokens it reads, None where only a server knows."""

    sampler: Sampler
    encoder: Encoder
    decode: Decode
    context: int | None = None

    def write(
        self, questions: Sequence[Question], *, sampling: Sampling, max_new_tokens: int
    ) -> list[list[Written] | None]:
        """Of each question its answers, in the order of its seeds; None where it leaves no room for one.

        Raises ``UserError``: ``no-chat-template``, and what the sampler raises.
        """
        prompts = [self.encoder.prompt_ids(one.messages, raw=one.raw) for one in questions]
        fits = [self.context is None or len(ids) + max_new_tokens <= self.context for ids in prompts]
        asks = [
            Ask(ids, one.seeds, sampling, max_new_tokens=max_new_tokens)
            for ids, one, fit in zip(prompts, questions, fits, strict=True)
            if fit
        ]
        answered = iter(self.sampler.sample(asks) if asks else [])
        return [[self._written(answer) for answer in next(answered)] if fit else None for fit in fits]

    def _written(self, answer: Answer) -> Written:
        text = self.decode(answer.ids) if answer.text is None else answer.text
        return Written(text.strip(), len(answer.ids) + isinstance(answer.stop, int), answer.stopped)
