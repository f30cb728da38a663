"""What objectives that learn from the model's own answers share: how answers are drawn, scored and cut into updates.

Rows are prompts. A *rollout* answers ``batch_size × mini_batches`` of them, each ``answers`` times; rewards, log-
probabilities and what the objective makes of them (``signals``) are written beside every token once, and the rollout is
then gone through ``mini_epochs`` times, a mini-batch an update. So an example is a prompt with all its answers, and its
``extras`` are float32 ``[n]``, one a trained token.

A policy that is sampled at another temperature is another policy: its log-probabilities are those of ``logits / T``
(``Tempered``), in the loss as well.

Shape legend: ``A`` answers of a rollout, ``N`` tokens of all its answers, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Message, Record
from tunesmith.contracts.objective import Judged
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.contracts.sampler import Sampling
from tunesmith.data import candidates
from tunesmith.data.formats.base import BadRow
from tunesmith.objectives.advantages import Floats, Ints
from tunesmith.objectives.base import ObjectiveConfig
from tunesmith.objectives.policy_loss import Correction
from tunesmith.recipe.base import PartConfig
from tunesmith.recipe.schema import Part

if TYPE_CHECKING:
    import torch

Count = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0.0)]


@dataclass(frozen=True)
class Scored:
    """A rollout as an objective sees it: float64 arrays over its answers ``[A]`` and their tokens ``[N]``, in turn."""

    rewards: Floats
    """``[A]``"""
    groups: Ints
    """``[A]``: the prompt of each answer, numbered from 0."""
    lengths: Ints
    """``[A]``: its tokens."""
    old: Floats
    """``[N]``: log-probabilities under the policy when it was sampled."""
    reference: Floats | None = None
    """``[N]``: under the policy as training began; None where nobody asked."""
    values: Floats | None = None
    """``[N]``: what the value head said before each token."""

    @cached_property
    def kl(self) -> Floats:
        """``log π_old − log π_ref`` of each token ``[N]`` (k1); 0 where there is no reference."""
        return np.zeros_like(self.old) if self.reference is None else self.old - self.reference


@dataclass(frozen=True)
class Tempered:
    """A ``Want.token_fn``: log-probability of the label and entropy, both of ``logits / temperature``; ``[n, 2]``."""

    temperature: float

    def __call__(self, logits: torch.Tensor, rows: slice, batch: Batch) -> torch.Tensor:
        """``logits [n, V]`` -> ``[n, 2]``, differentiable."""
        import torch

        log_p = torch.log_softmax(logits / self.temperature, dim=-1)
        labels = batch.readout.labels[rows]
        return torch.stack([log_p.gather(1, labels[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)], dim=1)


@dataclass(frozen=True)
class Said:
    """What a model said of the tokens ``[N]`` of a batch: log-probabilities and entropies at the temperature."""

    logprob: torch.Tensor
    entropy: torch.Tensor


def said(outputs: Outputs) -> Said:
    """Read what ``Sampled.want`` asked for."""
    if outputs.values is not None:
        return Said(outputs.values[:, 0], outputs.values[:, 1])
    assert outputs.logprob is not None and outputs.entropy is not None
    return Said(outputs.logprob, outputs.entropy)


class Sampled(ObjectiveConfig):
    """Learning from rewards on answers that the model samples."""

    formats: ClassVar[tuple[str, ...]] = ("prompt-completion", "messages")
    unit: ClassVar[str] = "prompts"
    samples: ClassVar[bool] = True
    judged: ClassVar[Judged] = "rewards"
    metrics: ClassVar[tuple[str, ...]] = ("reward",)

    rewards: list[Part] = []
    """What is good about an answer: a list of rewards (`tunesmith rewards`), summed by their `weight`."""
    judge: list[Part] = []
    """Rewards that are watched and never trained on: when the trained reward rises and these fall, it is being
    gamed, and the run says so."""
    max_new_tokens: Count = 128
    """Longest answer, in tokens."""
    temperature: Annotated[float, Field(gt=0.0)] = 1.0
    """Temperature that answers are sampled at; the policy that is trained is the one at this temperature."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Sample from the fewest most likely tokens of this probability. Below 1 the sampler is not the policy."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Sample from this many most likely tokens; 0 for all. Above 0 the sampler is not the policy."""
    stop: list[str] = []
    """Texts that end an answer, besides the model's own end."""
    server: str | None = None
    """Address of an OpenAI-compatible server (vLLM) that samples in place of this process, such as
    `http://localhost:8000`; it is handed the adapter before every rollout. By default the model is sampled here."""
    mini_batches: Count = 1
    """Updates of `batch_size` prompts that the answers of one rollout are cut into."""
    mini_epochs: Count = 1
    """Times that the answers of one rollout are gone through."""
    kl: Weight = 0.0
    """Weight of the divergence from the model as training began; 0 only measures it."""
    kl_target: Annotated[float, Field(gt=0.0)] | None = None
    """Adapt `kl` so that answers diverge by this many nats on average (for a divergence in the reward)."""
    kl_rate: Annotated[float, Field(gt=0.0)] = 0.1
    """How fast `kl` adapts: by at most a fifth of this share a rollout."""
    measure_kl: bool = True
    """Whether the divergence is measured where it weighs nothing; it costs a forward pass of the rollout's answers."""
    mask_truncated: bool = False
    """Whether answers that were cut off at `max_new_tokens` are left out of the loss (they still count in groups)."""
    entropy_bonus: Weight = 0.0
    """What a nat of entropy a token is worth: above 0 keeps the policy varied."""
    off_policy: Correction = "none"
    """What corrects tokens that the sampler drew with other probabilities than the trainer's (a server, lower
    precision, `top_p`): `truncate` weighs them up to `off_policy_cap`, `mask` drops those beyond it."""
    off_policy_cap: Annotated[float, Field(gt=1.0)] = 2.0
    """The largest weight of `truncate`; for `mask` the largest (and its inverse the smallest) that counts."""

    @field_validator("rewards", "judge", mode="before")
    @classmethod
    def _as_parts(cls, given: Any) -> Any:
        return [_as_part(one) for one in given] if isinstance(given, list | tuple) else given

    @model_validator(mode="after")
    def _adapts_what_is_there(self) -> Self:
        if self.kl_target is not None and self.reward_kl == 0.0:
            raise ValueError("kl_target adapts the weight of a divergence in the reward: set kl above 0 (and kl_in)")
        return self

    @property
    def beside(self) -> Mapping[str, Want]:  # type: ignore[override]  # as ``want`` below
        """The model as training began: asked once a rollout, then it lies beside the tokens (``reference``)."""
        return {"reference": replace(self.want, value=False)} if self.needs_reference else {}

    @property
    def reward_kl(self) -> float:
        """The weight of the divergence in the reward, as training begins."""
        return self.kl

    @property
    def answers_each(self) -> int:
        """Answers to each prompt."""
        return 1

    @property
    def most_rounds(self) -> int | None:
        """How often further prompts are answered in place of those that teach nothing; None: those are kept."""
        return None

    @property
    def needs_reference(self) -> bool:
        """Whether the model as training began is asked about the answers."""
        return self.kl > 0.0 or self.measure_kl

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn."""
        return Sampling(self.temperature, self.top_k, self.top_p)

    @property
    def want(self) -> Want:  # type: ignore[override]  # the contract has a property, the defaults a class variable
        """Log-probability and entropy; through the logits where they are tempered or entropy has a gradient."""
        if self.temperature == 1.0 and self.entropy_bonus == 0.0:
            return Want(logprob=True, entropy=True)
        return Want(logprob=False, token_fn=Tempered(self.temperature))

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """The question alone: it is answered while training."""
        messages = asked(record)
        ids = encoder.prompt_ids(messages, record.tools, raw=encoder.joined(record))
        return [Encoding(ids, [False] * len(ids), asks=True)]

    def signals(self, scored: Scored, *, kl: float) -> Mapping[str, Floats]:
        """What each token ``[N]`` of a rollout is to learn from, by name; ``kl`` is the weight of the divergence in
        the reward now. ``advantage`` is always among them."""
        raise NotImplementedError


def asked(record: Record) -> Sequence[Message]:
    """The turns up to the answer. Raises ``BadRow`` for rows that ask nothing."""
    if record.messages is None:
        raise BadRow("the row is plain text, and a prompt is needed")
    messages = candidates.asked(record)
    if not messages:
        raise BadRow("the row has no prompt")
    return messages


def tokens_in(examples: Sequence[Example]) -> float:
    """Trained tokens."""
    return float(sum(example.targets for example in examples))


def answers_in(examples: Sequence[Example]) -> float:
    """Answers."""
    return float(sum(example.sequences for example in examples))


def _as_part(given: Any) -> Any:
    if isinstance(given, str):
        return {"name": given}
    if isinstance(given, PartConfig):
        return {"name": type(given).part_name(), **given.model_dump(exclude_unset=True)}
    return given
