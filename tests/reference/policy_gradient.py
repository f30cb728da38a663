"""GRPO and its kin and PPO, slowly: one answer and one token at a time, as the papers write them, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Answer:
    """One answer: ``new`` float64 ``[n]`` with gradients, and plain numbers a token."""

    new: torch.Tensor
    old: Sequence[float]
    reference: Sequence[float]
    advantage: Sequence[float]


def _clipped(ratio: torch.Tensor, low: float | None, high: float | None) -> torch.Tensor:
    value = ratio
    if low is not None and float(ratio.detach()) < 1 - low:
        value = torch.tensor(1 - low, dtype=torch.float64)
    if high is not None and float(ratio.detach()) > 1 + high:
        value = torch.tensor(1 + high, dtype=torch.float64)
    return value


def token_losses(answer: Answer, kind: str, low: float | None, high: float | None) -> list[torch.Tensor]:
    """The surrogate of each token, to be minimised."""
    count = len(answer.old)
    away = [answer.new[t] - answer.old[t] for t in range(count)]
    found = []
    for t in range(count):
        advantage = answer.advantage[t]
        if kind == "none":
            found.append(-advantage * answer.new[t])
            continue
        ratio = torch.exp(sum(away) / count if kind == "sequence" else away[t])
        held = _clipped(ratio, low, high)
        if kind == "clipped-weight":
            found.append(-held.detach() * advantage * answer.new[t])
        else:
            free, bound = ratio * advantage, held * advantage
            found.append(-(free if float(free.detach()) < float(bound.detach()) else bound))
    return found


def policy_loss(
    answers: Sequence[Answer],
    *,
    kind: str,
    normalise: str,
    low: float | None,
    high: float | None,
    longest: int,
    beta: float = 0.0,
    estimator: str = "k3",
) -> torch.Tensor:
    """The whole loss of an update."""
    total = torch.zeros((), dtype=torch.float64)
    tokens = sum(len(answer.old) for answer in answers)
    for answer in answers:
        losses = token_losses(answer, kind, low, high)
        for t, loss in enumerate(losses):
            d = answer.new[t] - answer.reference[t]
            kl = {"k1": d, "k2": d * d / 2, "k3": torch.exp(-d) - 1 + d}[estimator]
            whole = {
                "sequence": len(losses) * len(answers),
                "tokens": tokens,
                "constant": longest * len(answers),
                "sum": len(answers),
            }[normalise]
            total = total + (loss + beta * kl) / whole
    return total


def group_advantages(kind: str, rewards: Sequence[float]) -> list[float]:
    """Of one group."""
    count = len(rewards)
    mean = sum(rewards) / count
    if kind == "leave-one-out":
        return [reward - (sum(rewards) - reward) / (count - 1) for reward in rewards]
    if kind == "centred":
        return [reward - mean for reward in rewards]
    spread = math.sqrt(sum((reward - mean) ** 2 for reward in rewards) / (count - 1))
    return [(reward - mean) / (spread + 1e-4) for reward in rewards]


def gae(rewards: Sequence[float], values: Sequence[float], gamma: float, lam: float) -> list[float]:
    """By the definition: every later temporal difference, discounted."""
    count = len(rewards)
    ahead = [*values[1:], 0.0]
    deltas = [rewards[t] + gamma * ahead[t] - values[t] for t in range(count)]
    return [sum((gamma * lam) ** k * deltas[t + k] for k in range(count - t)) for t in range(count)]
