"""A run's model on both sides of its training, and the text to look at it with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from tunesmith.contracts.batch import Example, Layout, Stream
from tunesmith.contracts.method import Attached
from tunesmith.contracts.objective import Objective
from tunesmith.errors import UserError
from tunesmith.generation.inference import inference
from tunesmith.models.layers import Anatomy, anatomy
from tunesmith.models.policy import CausalPolicy

Side = Literal["base", "tuned"]
SIDES: tuple[Side, Side] = ("base", "tuned")


@dataclass(frozen=True)
class Asked:
    """What one looks with: token ids of a ``prompt`` and of an ``answer``, and both as the row ``example``.

    A task head answers with no token: its ``answer`` is empty, and the labels of ``example`` are what is looked at.
    """

    prompt: Sequence[int]
    answer: Sequence[int]
    example: Example
    said: str
    """The answer, or the labels, as text."""


@dataclass
class Subject:
    """``policy`` is the tuned model with its method on; ``ask`` gives what to look with, where a look needs it.

    ``base`` gives the model before training where the method cannot be switched off. ``plain`` gives two plain
    transformers models, base and merged, and may only be asked once: merging ends the method.
    """

    policy: CausalPolicy
    attached: Attached
    objective: Objective
    decode: Callable[[Sequence[int]], str]
    ask: Callable[[], Asked]
    plain: Callable[[], tuple[nn.Module, nn.Module]]
    examples: Sequence[Example]
    """Held-out rows: what activations and importance are measured on."""
    training: Sequence[Example] = ()
    """Training rows that may have moved an answer."""
    where: Callable[[Example], str] = lambda example: f"row {example.row}"
    base: Callable[[], CausalPolicy] | None = None
    _base: list[CausalPolicy] = field(default_factory=list)

    @contextmanager
    def side(self, side: Side) -> Iterator[CausalPolicy]:
        """The policy of one side, at rest."""
        policy = self.policy
        off: AbstractContextManager[Any] = nullcontext()
        if side == "base" and self.base is not None:
            self._base = self._base or [self.base()]
            policy = self._base[0]
        elif side == "base":
            off = self.attached.off()
        with off, inference(policy):
            yield policy

    def token(self, number: int) -> str:
        """One token as text, with the blank that it carries inside of a text; decoded alone it would lose it."""
        alone, twice = self.decode([number]), self.decode([number, number])
        return (twice.removeprefix(alone) if twice.startswith(alone) else alone) or alone

    @cached_property
    def asked(self) -> Asked:
        """What to look with."""
        return self.ask()

    @property
    def whole(self) -> list[int]:
        """Prompt and answer."""
        return [*self.asked.prompt, *self.asked.answer]

    @property
    def writes(self) -> bool:
        """Whether the model writes text; else it has a task head."""
        return self.objective.head() is None

    def needs_text(self, why: str) -> None:
        """Raise ``UserError`` (``cannot-inspect``) with ``why`` where the model has a task head."""
        if not self.writes:
            raise UserError(
                why,
                allowed="weights, importance, activations, attention, contributions, influence",
                code="cannot-inspect",
            )


def parts_of(model: Any) -> Anatomy:
    """Paths of a model's parts, whatever a method has put around its layers: read off an empty model of its kind."""
    with torch.device("meta"):
        return anatomy(type(model)(model.config))


def blocks_of(model: nn.Module) -> list[str]:
    """Paths of a model's blocks, from the bottom to the top."""
    return list(parts_of(model).blocks)


def places(paths: Iterable[str], blocks: Sequence[str]) -> dict[str, tuple[int, str]]:
    """``(block, kind)`` of module paths: ``model.layers.3.self_attn.q_proj`` -> ``(3, "q_proj")``; -1 outside.

    The kind is the shortest end of its path in the block that no other has: ``attn.c_proj`` and ``mlp.c_proj``.
    """
    inside: dict[int, dict[str, str]] = {}
    for path in paths:
        block = next((number for number, one in enumerate(blocks) if path.startswith(f"{one}.")), -1)
        inside.setdefault(block, {})[path] = path if block < 0 else path.removeprefix(f"{blocks[block]}.")
    return {path: (block, _end(one, some)) for block, some in inside.items() for path, one in some.items()}


def _end(path: str, others: Mapping[str, str]) -> str:
    words = path.split(".")
    ends = (".".join(words[-count:]) for count in range(1, len(words)))
    return next((end for end in ends if sum(f".{one}".endswith(f".{end}") for one in others.values()) == 1), path)


def stream_of(policy: CausalPolicy, sequences: Sequence[Sequence[int]]) -> Stream:
    """``sequences`` of token ids as one flat stream."""
    lengths = tuple(map(len, sequences))
    starts = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])).to(policy.device)
    ids = torch.tensor([token for one in sequences for token in one], device=policy.device)
    positions = torch.cat([torch.arange(length) for length in lengths]).to(policy.device)
    return Stream(ids, positions, Layout(starts, lengths))


def texts_of(example: Example) -> list[list[int]]:
    """The whole sequences of an example: each of its answers with their beginning, or itself."""
    ids, branches = example.ids.tolist(), example.branches
    if not branches:
        return [ids]
    ends = (*branches[1:], len(ids))
    return [[*ids[: branches[0]], *ids[start:end]] for start, end in zip(branches, ends, strict=True)]


def rows_of(value: Any) -> torch.Tensor:
    """What a block gives for one sequence, ``[1, T, d]`` or a tuple that begins with it, as ``[T, d]`` float32."""
    tensor: torch.Tensor = value[0] if isinstance(value, tuple) else value
    return tensor.detach().float().reshape(-1, tensor.shape[-1])


def example_of(prompt: Sequence[int], answer: Sequence[int]) -> Example:
    """A sequence of which ``answer`` is learned."""
    ids = np.array([*prompt, *answer], dtype=np.int32)
    return Example(ids, np.arange(len(ids)) >= len(prompt), row=-1)
