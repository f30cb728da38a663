"""How the next token is chosen: greedy, or drawn after temperature, top-k and top-p (Holtzman et al. 2020, nucleus).

Shape legend: ``N`` rows (one a request), ``V`` vocabulary.

A token is drawn by inverting the cumulative distribution at one uniform number that belongs to the request: token
``i`` is the first with ``P_1 + … + P_i > u``. Order of the sum is the vocabulary's, not by probability, so that the
rounding noise of another batch shape moves a choice only with a probability of the size of that noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tunesmith.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """``temperature`` 0 is greedy; ``top_k`` 0 and ``top_p`` 1 keep every token. They act in the order given here."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        for name, value, allowed, fine in (
            ("temperature", self.temperature, "0 (greedy) and above", self.temperature >= 0),
            ("top_k", self.top_k, "0 (off) and above", self.top_k >= 0),
            ("top_p", self.top_p, "above 0, up to 1", 0 < self.top_p <= 1),
        ):
            if not fine:
                raise UserError(f"'{name}' is out of range", got=value, allowed=allowed, code="bad-sampling")


GREEDY = Sampling()


def choose(logits: torch.Tensor, uniforms: torch.Tensor, sampling: Sampling = GREEDY) -> torch.Tensor:
    """The next token of every row: ``logits [N, V]`` float32, ``uniforms [N]`` float64 in [0, 1) -> int64 ``[N]``."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    cumulative = distribution(logits, sampling).cumsum(dim=-1)
    wanted = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, wanted, right=True)[:, 0].clamp_(max=logits.shape[-1] - 1)


def distribution(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """What is drawn from: ``logits [N, V]`` -> probabilities float64 ``[N, V]``, 0 where a filter excludes a token.

    Top-k keeps every token that ties with the k-th. Top-p keeps the fewest most likely tokens whose probabilities
    sum to at least ``top_p``, so always one.
    """
    scores = logits.double() / sampling.temperature
    if 0 < sampling.top_k < scores.shape[-1]:
        least = scores.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < least, float("-inf"))
    probabilities = scores.softmax(dim=-1)
    if sampling.top_p < 1:
        ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(-1, tokens, before >= sampling.top_p)
        probabilities = probabilities.masked_fill(outside, 0.0)
        probabilities /= probabilities.sum(dim=-1, keepdim=True)
    return probabilities


def chosen_logprobs(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probability of ``tokens [N]`` under the model itself (temperature 1, no filter): float32 ``[N]``."""
    return logits.log_softmax(dim=-1).gather(-1, tokens[:, None])[:, 0]
