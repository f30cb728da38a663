"""How much better an answer, or a token of it, was than expected: advantages from rewards.

Over the answers ``i`` to one prompt (a group of ``G``), with rewards ``R_i``:

    group          (R_i − mean R) / (std R + ε)          Shao et al. 2024, GRPO (arXiv 2402.03300), section 4.1.2
    centred        R_i − mean R                          Liu et al. 2025, Dr. GRPO (arXiv 2503.20783), section 3.2
    leave-one-out  R_i − mean of the others              Ahmadian et al. 2024, RLOO (arXiv 2402.14740), equation 5

Over tokens ``t`` of one answer, with rewards ``r_t`` a token and values ``V_t`` of the states before them (Schulman et
al. 2016, arXiv 1506.02438, equations 11 to 16):

    δ_t = r_t + γ V_{t+1} − V_t,    A_t = Σ_{l≥0} (γλ)^l δ_{t+l},    V after the last token = 0

With ``V = 0`` and ``γ = λ = 1`` that is the reward to go, ``Σ_{i≥t} r_i``, which REINFORCE++ whitens over the whole
rollout (Hu et al. 2025, arXiv 2501.03262, equations 7 to 9).

Shape legend: ``A`` answers, ``N`` tokens of all answers in turn; ``lengths [A]`` sum to ``N``. All float64.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Baseline = Literal["group", "centred", "leave-one-out"]
DIFFERENCE = 1e-9
"""Rewards that are nearer to one another are the same."""
TINY = 1e-4
"""ε beside a group's standard deviation, as in the reference implementations"""


def group_advantages(kind: Baseline, rewards: Floats, groups: Ints) -> Floats:
    """The advantage ``[A]`` of each answer over its group; ``groups [A]`` numbers the prompts from 0.

    An answer that is alone has none to be compared with: 0.
    """
    size = np.bincount(groups).astype(np.float64)
    mean = np.bincount(groups, rewards) / size
    away = rewards - mean[groups]
    if kind == "centred":
        return away
    others = np.maximum(size - 1.0, 1.0)[groups]
    if kind == "leave-one-out":
        return away * size[groups] / others
    spread = np.sqrt(np.bincount(groups, away**2)[groups] / others)
    return away / (spread + TINY)


def varied(rewards: Floats, groups: Ints) -> NDArray[np.bool_]:
    """Which groups (bool, one a group) hold answers of different rewards; the others teach nothing."""
    count = int(groups.max(initial=-1)) + 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, groups, rewards)
    np.maximum.at(high, groups, rewards)
    return high - low > DIFFERENCE


def token_rewards(rewards: Floats, lengths: Ints, kl: Floats, weight: float) -> Floats:
    """Rewards ``[N]``: ``−weight·kl_t`` a token, and an answer's own reward at its last token."""
    values = -weight * kl
    values[np.cumsum(lengths) - 1] += rewards
    return values


def generalised(rewards: Floats, values: Floats, lengths: Ints, *, gamma: float = 1.0, lam: float = 1.0) -> Floats:
    """Generalised advantage estimates ``[N]`` of token ``rewards [N]`` and ``values [N]``."""
    inside = np.arange(int(lengths.max(initial=0)))[None, :] < lengths[:, None]
    reward, value = (np.zeros(inside.shape) for _ in range(2))
    reward[inside], value[inside] = rewards, values
    found = np.zeros_like(reward)
    later, after = (np.zeros(len(lengths)) for _ in range(2))
    for t in reversed(range(inside.shape[1])):
        later = (reward[:, t] + gamma * after - value[:, t] + gamma * lam * later) * inside[:, t]
        found[:, t], after = later, value[:, t]
    return found[inside]


def whitened(values: Floats, *, centre: bool = True) -> Floats:
    """``values [N]`` with mean 0 (or their own, without ``centre``) and variance 1; all alike: only centred."""
    mean = values.mean()
    away = (values - mean) / np.sqrt(values.var() + 1e-8)
    return away if centre else away + mean


def sums(values: Floats, lengths: Ints) -> Floats:
    """``values [N]`` summed over each answer: ``[A]``."""
    found = np.bincount(np.repeat(np.arange(len(lengths)), lengths), values, minlength=len(lengths))
    return found.astype(np.float64)
