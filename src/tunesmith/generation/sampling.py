"""How the next token is chosen: greedy, or drawn after penalty, temperature, top-k and top-p (Holtzman et al. 2020).

Shape legend: ``N`` rows (one a request), ``V`` vocabulary.

A token is drawn by inverting the cumulative distribution at one uniform number that belongs to the request: token
``i`` is the first with ``P_1 + … + P_i > u``. Order of the sum is the vocabulary's, not by probability, so that the
rounding noise of another batch shape moves a choice only with a probability of the size of that noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tunesmith.contracts.sampler import GREEDY, Sampling

_NUCLEUS = (64, 512)
"""How many tokens are sorted at first: most nuclei hold fewer, and sorting a vocabulary outweighs a small model."""


@dataclass(frozen=True)
class Drawn:
    """``tokens`` int64 ``[N]`` and their log-probability ``[N]`` under what they were drawn from (0 where greedy)."""

    tokens: torch.Tensor
    logprobs: torch.Tensor


def draw(logits: torch.Tensor, uniforms: torch.Tensor, sampling: Sampling = GREEDY) -> Drawn:
    """The next token of every row: ``logits [N, V]`` float, ``uniforms [N]`` float64 in [0, 1).

    The repetition penalty is not in it: it needs the row's history (``penalised``).
    """
    if sampling.temperature == 0:
        tokens = logits.argmax(dim=-1)
        return Drawn(tokens, torch.zeros(len(tokens), device=logits.device))
    probabilities = distribution(logits, sampling)
    cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    # below the total, or rounding could choose a token after the last possible one
    wanted = torch.minimum(uniforms[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    tokens = torch.searchsorted(cumulative, wanted, right=True)
    return Drawn(tokens[:, 0], probabilities.gather(1, tokens)[:, 0].log())


def distribution(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """What is drawn from: ``logits [N, V]`` -> probabilities ``[N, V]``, 0 where a filter excludes a token.

    Top-k keeps every token that ties with the k-th. Top-p keeps the fewest most likely tokens whose probabilities
    sum to at least ``top_p`` (so always one), and what ties with the last of them.
    """
    scores = logits if sampling.temperature == 1 else logits / sampling.temperature
    if 0 < sampling.top_k < scores.shape[-1]:
        least = scores.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < least, float("-inf"))
    probabilities = scores.softmax(dim=-1)
    if sampling.top_p < 1:
        least = _least_of_nucleus(probabilities, sampling.top_p)
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
        probabilities /= probabilities.sum(dim=-1, keepdim=True)
    return probabilities


def _least_of_nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """``[N, V] -> [N, 1]``: the smallest probability among the fewest most likely tokens that sum to ``top_p``."""
    vocabulary = probabilities.shape[-1]
    for count in (*_NUCLEUS, vocabulary):
        ordered = probabilities.topk(min(count, vocabulary), dim=-1).values
        reached = ordered.cumsum(dim=-1, dtype=torch.float64)
        if bool((reached[:, -1] >= top_p).all()):
            break
    needed = reached - ordered < top_p
    return ordered.masked_fill(~needed, float("inf")).amin(dim=-1, keepdim=True)


def penalised(row: torch.Tensor, seen: Sequence[int], penalty: float) -> torch.Tensor:
    """``row [V]`` of logits with those of ``seen`` tokens made less likely by ``penalty`` (a copy)."""
    tokens = torch.tensor(sorted(set(seen)), device=row.device)
    scores = row[tokens]
    return row.index_put((tokens,), torch.where(scores < 0, scores * penalty, scores / penalty))


def chosen_logprobs(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probability of ``tokens [N]`` under the model itself (temperature 1, no filter): float32 ``[N]``."""
    return logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)
