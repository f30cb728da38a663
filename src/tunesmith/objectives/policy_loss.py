"""Policy gradients by token: the surrogate that is minimised, by the kind of its importance ratio.

With ``r = π(y_t) / π_old(y_t)`` and advantage ``A_t``:

    token            −min(r A, clip(r, 1−low, 1+high) A)     Schulman et al. 2017, PPO (arXiv 1707.06347), eq. 7
    sequence         the same with r = exp(mean_t log r_t)    Zheng et al. 2025, GSPO (arXiv 2507.18071), eq. 5 and 7
    clipped-weight   −sg[clip(r, 1−low, 1+high)] A log π      MiniMax 2025, CISPO (arXiv 2506.13585), eq. 4 and 5
    none             −A log π                                 Williams 1992, REINFORCE

``sg`` stops the gradient. A bound of None does not clip; high > low is DAPO's clip-higher (arXiv 2503.14476, eq. 10).

The trap: where clipping binds, ``min`` has no gradient at all, and that is the point; a clipped weight keeps it.

Shape legend: ``N`` tokens read out, ``U`` sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Ratio = Literal["token", "sequence", "clipped-weight", "none"]
Correction = Literal["none", "truncate", "mask"]


@dataclass(frozen=True)
class Clip:
    """How far a ratio counts: within ``[1 − low, 1 + high]``."""

    low: float | None = 0.2
    high: float | None = 0.2

    def __call__(self, ratio: torch.Tensor) -> torch.Tensor:
        """``ratio`` brought within the bounds."""
        low = None if self.low is None else 1.0 - self.low
        high = None if self.high is None else 1.0 + self.high
        return ratio if low is None and high is None else ratio.clamp(min=low, max=high)


@dataclass(frozen=True)
class Surrogate:
    """``values`` ``[N]``: the loss of each token, differentiable; ``clipped`` float ``[N]``: 1 where clipping binds."""

    values: torch.Tensor
    clipped: torch.Tensor


def surrogate(
    kind: Ratio,
    logprob: torch.Tensor,
    *,
    old: torch.Tensor,
    advantage: torch.Tensor,
    unit: torch.Tensor,
    sequences: int,
    clip: Clip,
) -> Surrogate:
    """The loss ``[N]`` of each token from log-probabilities now (``logprob``) and when sampled (``old``).

    ``unit`` int64 ``[N]`` is the sequence of each token, of ``sequences``.
    """
    if kind == "none":
        return Surrogate(-advantage * logprob, advantage.new_zeros(advantage.shape))
    away = logprob - old
    ratio = (sequence_means(away, unit, sequences)[unit] if kind == "sequence" else away).exp()
    bounded = clip(ratio)
    if kind == "clipped-weight":
        weight = bounded.detach()
        return Surrogate(-weight * advantage * logprob, (ratio != bounded).to(logprob.dtype).detach())
    free, held = ratio * advantage, bounded * advantage
    return Surrogate(-free.minimum(held), (held < free).to(logprob.dtype).detach())


def sequence_means(values: torch.Tensor, unit: torch.Tensor, sequences: int) -> torch.Tensor:
    """The mean ``[U]`` of ``values [N]`` over each sequence; 0 where it has none."""
    total = values.new_zeros(sequences).index_add(0, unit, values)
    return total / tokens_of(unit, sequences).to(values.dtype).clamp(min=1)


def tokens_of(unit: torch.Tensor, sequences: int) -> torch.Tensor:
    """How many tokens each sequence has: int64 ``[U]``."""
    return unit.bincount(minlength=sequences)


def correction(kind: Correction, old: torch.Tensor, sampled: torch.Tensor, *, cap: float) -> torch.Tensor | None:
    """The weight ``[N]`` of each token where the sampler was not quite the policy; None where nothing is corrected.

    ``w = π_old / π_sampler``; ``truncate``: ``min(w, cap)`` (Yao et al. 2025, "Your efficient RL framework secretly
    brings you off-policy RL training", TIS; Ionides 2008), ``mask``: tokens outside ``[1/cap, cap]`` weigh nothing
    (as in IcePop, Ling team 2025). ``old`` is the trainer's own log-probability at that time.
    """
    if kind == "none":
        return None
    weight = (old - sampled).exp()
    if kind == "truncate":
        return weight.clamp(max=cap)
    return weight * ((weight <= cap) & (weight >= 1.0 / cap))


def clipped_value_loss(
    value: torch.Tensor, *, old: torch.Tensor, target: torch.Tensor, clip: float | None
) -> torch.Tensor:
    """``½ max((V − R)², (clip(V, V_old ± c) − R)²)`` of each token ``[N]``: Schulman et al.'s implementation of PPO.

    (Huang et al. 2022, "The 37 implementation details of PPO", number 9.) ``clip`` None: the plain squared error.
    """
    plain = (value - target).square()
    if clip is None:
        return plain / 2
    near = old + (value - old).clamp(-clip, clip)
    return plain.maximum((near - target).square()) / 2
