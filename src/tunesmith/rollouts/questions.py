"""Rows as questions: the prompt's tokens, and what a reward is told about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Record
from tunesmith.contracts.reward import Sample
from tunesmith.errors import UserError

ANSWERS = ("answer", "reference", "solution", "target")
"""Columns that hold the right answer where the conversation does not end with one, first found first taken."""


@dataclass(frozen=True)
class Question:
    """A prompt: ``example`` holds its tokens and where it came from, ``sample`` what rewards see (no answer yet)."""

    example: Example
    sample: Sample

    @property
    def ids(self) -> list[int]:
        """Tokens that answers are generated from."""
        found: list[int] = self.example.ids.tolist()
        return found


class Examples(Protocol):
    """A token store, or a list of examples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


class Questions(Sequence[Question]):
    """The prompts of a token store in its order, with the records behind them (by ``Example.row``)."""

    def __init__(self, examples: Examples, records: Mapping[int, Record]) -> None:
        self.examples = examples
        self._records = records

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Question:  # type: ignore[override]  # no slices are needed
        example = self.examples[index]
        return Question(example, sample_of(self._records[example.row]))

    def __iter__(self) -> Iterator[Question]:
        return (self[index] for index in range(len(self)))


def sample_of(record: Record) -> Sample:
    """What rewards see of a row before it is answered."""
    turns = record.messages or ()
    answered = bool(turns) and turns[-1].role == "assistant"
    messages = turns[:-1] if answered else turns
    named = next((record.meta[name] for name in ANSWERS if record.meta.get(name) is not None), None)
    reference = turns[-1].content if answered else None if named is None else str(named)
    return Sample(messages[-1].content, "", messages=messages, reference=reference, meta=record.meta)


def check_room(longest: int, *, max_new_tokens: int, context: int | None) -> str | None:
    """Refuse prompts that leave no room for an answer; a sentence where the longest leaves less than is allowed.

    Raises ``UserError`` (``prompt-too-long``).
    """
    if context is None or longest + max_new_tokens <= context:
        return None
    if longest >= context:
        raise UserError(
            "the longest prompt leaves no room for an answer",
            got=f"{longest} tokens",
            allowed=f"fewer than {context}, the model's context",
            hint=f"Set data.max_tokens={context - max_new_tokens}: longer prompts are then left out.",
            code="prompt-too-long",
        )
    room = context - longest
    return f"the longest prompt leaves {room} of objective.max_new_tokens={max_new_tokens} tokens for an answer"
