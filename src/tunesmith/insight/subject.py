"""A run's model on both sides of its training, and the text to look at it with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from tunesmith.contracts.batch import Example, Layout, Stream
from tunesmith.contracts.method import Attached
from tunesmith.generation.inference import inference
from tunesmith.models.layers import Anatomy, anatomy
from tunesmith.models.policy import CausalPolicy

Side = Literal["base", "tuned"]
SIDES: tuple[Side, Side] = ("base", "tuned")


@dataclass
class Subject:
    """``policy`` is the tuned model with its method on; ``prompt`` and ``answer`` are token ids.

    ``base`` gives the model before training where the method cannot be switched off. ``plain`` gives two plain
    transformers models, base and merged, and may only be asked once: merging ends the method.
    """

    policy: CausalPolicy
    attached: Attached
    decode: Callable[[Sequence[int]], str]
    prompt: Sequence[int]
    answer: Sequence[int]
    examples: Sequence[Example]
    """Held-out rows: what activations and importance are measured on."""
    training: Sequence[Example] = ()
    """Training rows that may have moved an answer."""
    where: Callable[[Example], str] = lambda example: f"row {example.row}"
    base: Callable[[], CausalPolicy] | None = None
    plain: Callable[[], tuple[nn.Module, nn.Module]] | None = None
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
        """One token as text."""
        return self.decode([number])

    @property
    def whole(self) -> list[int]:
        """Prompt and answer."""
        return [*self.prompt, *self.answer]


def parts_of(model: Any) -> Anatomy:
    """Paths of a model's parts, whatever a method has put around its layers: read off an empty model of its kind."""
    with torch.device("meta"):
        return anatomy(type(model)(model.config))


def blocks_of(model: nn.Module) -> list[str]:
    """Paths of a model's blocks, from the bottom to the top."""
    return list(parts_of(model).blocks)


def short(path: str, blocks: Sequence[str]) -> tuple[int, str]:
    """``(block, kind)`` of a module path: ``model.layers.3.self_attn.q_proj`` -> ``(3, "q_proj")``; -1 outside."""
    for number, block in enumerate(blocks):
        if path.startswith(f"{block}."):
            return number, path.rpartition(".")[2]
    return -1, path.rpartition(".")[2]


def stream_of(policy: CausalPolicy, sequences: Sequence[Sequence[int]]) -> Stream:
    """``sequences`` of token ids as one flat stream."""
    lengths = tuple(map(len, sequences))
    starts = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])).to(policy.device)
    ids = torch.tensor([token for one in sequences for token in one], device=policy.device)
    positions = torch.cat([torch.arange(length) for length in lengths]).to(policy.device)
    return Stream(ids, positions, Layout(starts, lengths))


def rows_of(value: Any) -> torch.Tensor:
    """What a block gives for one sequence, ``[1, T, d]`` or a tuple that begins with it, as ``[T, d]`` float32."""
    tensor: torch.Tensor = value[0] if isinstance(value, tuple) else value
    return tensor.detach().float().reshape(-1, tensor.shape[-1])


def example_of(prompt: Sequence[int], answer: Sequence[int]) -> Example:
    """A sequence of which ``answer`` is learned."""
    ids = np.array([*prompt, *answer], dtype=np.int32)
    return Example(ids, np.arange(len(ids)) >= len(prompt), row=-1)
