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
class Record:
    """A row in the project's own shape, whatever its format was.

    Exactly one of ``messages`` (a conversation) and ``text`` (plain text) is set. ``completion`` of a prompt/completion
    row is an assistant message; ``raw_prompt`` says that prompt and completion are joined as they are, untemplated.
    """

    messages: tuple[Message, ...] | None = None
    text: str | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
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


class Encoder(Protocol):
    """Rendering and tokenising with one tokenizer and template (``data.chat.ChatEncoder``)."""

    def conversation(self, record: Record, train_on: TrainOn) -> list[Encoding]:
        """A conversation with its targets marked; several where the template rewrites history."""
        ...

    def text(self, text: str, *, max_tokens: int | None) -> list[Encoding]:
        """Plain text with the document end, every token a target; split into pieces of ``max_tokens`` where given."""
        ...

    def marked(self, text: str, marker: str) -> Encoding | None:
        """Plain text of which only what follows the last ``marker`` is a target; None where the marker is absent."""
        ...


@dataclass(frozen=True)
class Prompt:
    """A held-out question with its reference answer, for evaluation by generation."""

    ids: list[int]
    reference: str
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


Messages = Sequence[Message]
