"""An author whose answers are a function of what it is asked, without a model: tokens are characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tunesmith.contracts.data import Message, Record
from tunesmith.contracts.sampler import Answer, Ask
from tunesmith.making.author import Author
from tunesmith.making.base import Parent, Work

Reply = Callable[[str, int], str]
CUT = "…"
"""A reply that ends so was cut off."""
STOP = 0


class Letters:
    """Turns as lines of characters."""

    def prompt_ids(self, messages: Sequence[Message], tools: Any = None, *, raw: bool = False) -> list[int]:
        text = "".join(one.content for one in messages) if raw else "\n".join(one.content for one in messages)
        return [ord(sign) for sign in text]

    def joined(self, record: Record) -> bool:
        return record.raw_prompt


class Scripted:
    """A sampler; ``asked`` are the prompts in turn."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked: list[str] = []

    def sample(self, asks: Sequence[Ask], *, logprobs: bool = False) -> list[list[Answer]]:
        return [[self._answer(ask, seed) for seed in ask.seeds] for ask in asks]

    def _answer(self, ask: Ask, seed: int) -> Answer:
        prompt = "".join(map(chr, ask.prompt))
        self.asked.append(prompt)
        text = self.reply(prompt, seed)
        whole = not text.endswith(CUT)
        return Answer([ord(sign) for sign in text.removesuffix(CUT)], STOP if whole else None, seed=seed)


def author(reply: Reply, *, context: int | None = None) -> Author:
    encoder: Any = Letters()
    return Author(Scripted(reply), encoder, lambda ids: "".join(map(chr, ids)), context)


def asked(work: Work) -> list[str]:
    sampler: Any = work.writer.sampler
    found: list[str] = sampler.asked
    return found


def parents(*questions: str, raw: bool = False, **meta: Any) -> list[Parent]:
    """Rows that ask ``questions``, from line 1 of ``rows.jsonl`` on."""
    return [
        Parent(Record(messages=(Message("user", text),), raw_prompt=raw, meta=meta), "data/rows.jsonl", line)
        for line, text in enumerate(questions, start=1)
    ]


def work(found: Sequence[Parent], reply: Reply, **options: Any) -> Work:
    one = author(reply, **options)
    return Work(found, lambda: one, [])
