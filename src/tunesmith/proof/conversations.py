"""Answers of a row and the prompts they are generated from: what the proofs about rendering share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tunesmith.contracts.data import Encoding, Record
from tunesmith.data.candidates import asked, imitated
from tunesmith.proof.base import Case


@dataclass(frozen=True)
class Answer:
    """An answer that is to be trained: the ids it is generated from, and the encodings of its row."""

    where: str
    prompt: list[int]
    encodings: list[Encoding]

    @property
    def home(self) -> tuple[Encoding, int] | None:
        """The encoding that trains on from exactly this prompt, and where the answer begins in it.

        An encoding that begins with the prompt but does not train what follows is the second choice: it may show an
        answer as context that another encoding trains.
        """
        begin = len(self.prompt)
        fitting = [one for one in self.encodings if one.ids[:begin] == self.prompt and len(one.ids) > begin]
        ordered = sorted(fitting, key=lambda one: not one.trained[begin])
        return (ordered[0], begin) if ordered else None


def answers(case: Case) -> Iterator[Answer]:
    """Every answer of the case's conversations that the objective trains, freshly rendered."""
    for row, record in case.records.items():
        if record.messages is None:
            continue
        encodings = case.objective.encode(record, case.encoder)
        if any(encoding.branches for encoding in encodings):
            prompt = case.encoder.prompt_ids(asked(record), record.tools, raw=case.encoder.joined(record))
            alone = [one for encoding in encodings for one in _alone(encoding)]
            yield from (Answer(f"row {row + 1}, answer {at + 1}", prompt, [one]) for at, one in enumerate(alone))
            continue
        told = imitated(record)
        for at, prompt in _prompts(case, told):
            yield Answer(f"row {row + 1}, answer in message {at + 1}", prompt, encodings)


def has_conversations(case: Case) -> bool:
    """Whether any row is one whose answers are predicted."""
    return case.objective.want.logprob and any(record.messages is not None for record in case.records.values())


def _alone(encoding: Encoding) -> Iterator[Encoding]:
    """Each answer of an encoding after the beginning that it shares."""
    begin = encoding.branches[0]
    for start, end in pairwise((*encoding.branches, len(encoding.ids))):
        yield Encoding(
            encoding.ids[:begin] + encoding.ids[start:end], encoding.trained[:begin] + encoding.trained[start:end]
        )


def _prompts(case: Case, record: Record) -> Iterator[tuple[int, list[int]]]:
    messages = record.messages or ()
    places = [at for at, message in enumerate(messages) if message.role == "assistant"]
    if getattr(case.objective, "train_on", None) == "last-answer":
        places = places[-1:]
    for at in places:
        if at == len(messages) - 1:
            prompt = case.encoder.prompt(record)
            assert prompt is not None
            yield at, prompt.ids
        else:
            yield at, case.encoder.prompt_ids(messages[:at], record.tools)
