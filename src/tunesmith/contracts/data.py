"""Rows on their way to tokens: record -> encoding -> example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant", "tool"]
TrainOn = Literal["answers", "last-answer", "everything"]


@dataclass(frozen=True)
class Message:
    """One turn. ``extra`` holds what templates may use besides (``tool_calls``, ``name``, ``reasoning_content`` …)."""

    role: Role
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The message as chat templates take it."""
        return {"role": self.role, "content": self.content, **self.extra}


@dataclass(frozen=True)
class Candidate:
    """One of several possible answers to a conversation: the turns that follow it, and how good they are."""

    messages: tuple[Message, ...]
    score: float | None = None


@dataclass(frozen=True)
class Record:
    """A row in the project's own shape, whatever its format was.

    Exactly one of ``messages`` (a conversation) and ``text`` (plain text) is set. ``completion`` of a prompt/completion
    row is an assistant message; ``raw_prompt`` says that prompt and completion are joined as they are, untemplated.

    Labelled rows are text with ``labels``: names of classes, or one number (as written). ``pair`` is a second text
    beside it. With ``spans`` (characters ``(from, to)`` of ``text``) there is one label a span (labelled words), or
    each span is an accepted answer to the question ``pair`` and ``labels`` is empty.

    Rows about preference are a conversation that ends in a question, with ``candidates``: possible answers, best
    first (chosen, then rejected); or a single one whose score says whether it is wanted (1) or not (0). An answer at
    the end of such a conversation is the one to imitate. A single answer in steps has their characters as ``spans``
    and one label (a number from 0 to 1) a step.
    """

    messages: tuple[Message, ...] | None = None
    text: str | None = None
    pair: str | None = None
    labels: tuple[str, ...] | None = None
    spans: tuple[tuple[int, int], ...] = ()
    others: tuple[str, ...] = ()
    """Texts that do not belong to ``text``, where ``pair`` does (embeddings)."""
    images: tuple[str, ...] = ()
    """Paths, addresses or ``data:`` URIs of images, in the order of the marks ``<image>`` in the texts."""
    tools: tuple[Mapping[str, Any], ...] | None = None
    candidates: tuple[Candidate, ...] = ()
    raw_prompt: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Untouched further columns (task, answer, difficulty …)."""
    source: int = 0
    line: int = 0
    """1-based line or row number in its source, for messages."""


@dataclass(frozen=True)
class Encoding:
    """Token ids and which of them are targets, both of the same length."""

    ids: list[int]
    trained: list[bool]
    note: str = ""
    """Why this encoding is not the plain rendering (``expanded turn 2 of 3``, ``split 1 of 4``, ``cut``)."""
    labels: list[int] | None = None
    """What is to be said at the targets, as the objective writes it: one number a target, or all of a lone target."""
    second: int = 0
    """Where the second text of a pair begins, for models with token types; 0 for none."""
    closing: int = 0
    """Tokens at the end that must stay when the text is cut (``[SEP]``, the end of text)."""
    branches: tuple[int, ...] = ()
    """Where answers to the shared beginning begin (see ``contracts.batch.Example``)."""
    extras: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Numbers that the objective wrote for itself; every encoding of one objective has the same names."""
    asks: bool = False
    """Whether this is a prompt that the model is to answer: it has no target."""

    @property
    def has_target(self) -> bool:
        """Whether anything is learned: a first token can be read, but not predicted."""
        return self.asks or True in (self.trained if self.labels is not None else self.trained[1:])


@dataclass(frozen=True)
class Framed:
    """A text (or a pair) with the special tokens that the model reads around it.

    ``spans`` are the characters of each token in its text, ``texts`` which text it is of (None: a special token).
    """

    ids: list[int]
    spans: list[tuple[int, int]]
    texts: list[int | None]
    second: int
    closing: int

    def of(self, text: int) -> list[int]:
        """Places of the tokens of one text."""
        return [place for place, one in enumerate(self.texts) if one == text]


class Encoder(Protocol):
    """Rendering and tokenising with one tokenizer and template (``data.chat.ChatEncoder``)."""

    def conversation(self, record: Record, train_on: TrainOn) -> list[Encoding]:
        """A conversation with its targets marked; several where the template rewrites history."""
        ...

    def candidates(self, record: Record) -> list[Encoding]:
        """Every candidate answer after the conversation it answers, each whole, with what it says as targets."""
        ...

    def stepped(self, record: Record) -> Encoding:
        """The only candidate, an answer in steps: the last token of each step is a target."""
        ...

    def prompt_ids(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None, *, raw: bool = False
    ) -> list[int]:
        """The ids that an answer to ``messages`` is generated from; ``raw`` joins without a template."""
        ...

    def joined(self, record: Record) -> bool:
        """Whether prompt and completion are joined as they are, because the recipe names no template."""
        ...

    def text(self, text: str, *, max_tokens: int | None) -> list[Encoding]:
        """Plain text with the document end, every token a target; split into pieces of ``max_tokens`` where given."""
        ...

    def marked(self, text: str, marker: str) -> Encoding | None:
        """Plain text of which only what follows the last ``marker`` is a target; None where the marker is absent."""
        ...

    def framed(self, text: str, pair: str | None = None) -> Framed:
        """A text or a pair as a classifier reads it: the model's own special tokens, or an end-of-text token."""
        ...

    @property
    def reads_first(self) -> bool:
        """Whether a whole text is read at its first token (``[CLS]``), or at its last (decoders)."""
        ...


@dataclass(frozen=True)
class Prompt:
    """A held-out question with its reference answer, for evaluation by generation."""

    ids: list[int]
    reference: str
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


Messages = Sequence[Message]
