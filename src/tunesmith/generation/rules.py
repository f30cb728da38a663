"""Which token comes next in each request of a step, and which requests end with it.

Rows with the same sampling settings are drawn in one go. Stop strings are looked for in the decoded text of an answer's
last tokens, so they may begin inside one token and end inside another; a find counts where the whole answer's text has
it too, and a last look at the whole ends what the window could not show.

Shape legend: ``N`` requests, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tunesmith.contracts.sampler import Sampling
from tunesmith.generation.requests import Request
from tunesmith.generation.sampling import Drawn, chosen_logprobs, draw, penalised

Decode = Callable[[list[int]], str]

_MARGIN = 8
"""Tokens looked at beyond those a stop string can span: the first of a window may decode differently there."""


@dataclass(frozen=True)
class Rules:
    """``stop_ids`` end an answer; ``decode`` gives its text; ``logprobs`` are recorded where wanted."""

    stop_ids: frozenset[int]
    decode: Decode | None = None
    logprobs: bool = False

    def extend(self, requests: Sequence[Request], logits: torch.Tensor) -> list[int]:
        """Choose the next token of every request from ``logits [N, V]`` and append it; returns the tokens."""
        drawn = self._drawn(requests, self._bent(requests, logits))
        tokens: list[int] = drawn.tokens.tolist()
        if self.logprobs:
            own: list[float] = chosen_logprobs(logits, drawn.tokens).tolist()
            for request, one, two in zip(requests, own, drawn.logprobs.tolist(), strict=True):
                request.logprobs.append(one)
                request.drawn_logprobs.append(two)
        for request, token in zip(requests, tokens, strict=True):
            if token in self.stop_ids:  # made impossible where it would be too early
                request.stop = token
            else:
                request.ids.append(token)
            if request.group.ask.stop or (self.decode is not None and request.done):
                self._read(request)
        return tokens

    def _bent(self, requests: Sequence[Request], logits: torch.Tensor) -> torch.Tensor:
        """``logits`` as the requests want them before temperature: penalties, and no stop token too early."""
        early = [row for row, request in enumerate(requests) if self.stop_ids and not request.may_stop]
        penal = [row for row, request in enumerate(requests) if request.sampling.repetition_penalty != 1]
        if not early and not penal:
            return logits
        bent = logits.clone()
        for row in penal:
            seen = [*requests[row].prompt, *requests[row].ids]
            bent[row] = penalised(logits[row], seen, requests[row].sampling.repetition_penalty)
        for row in early:
            bent[row, sorted(self.stop_ids)] = float("-inf")
        return bent

    def _drawn(self, requests: Sequence[Request], logits: torch.Tensor) -> Drawn:
        numbers = [request.rng.random() if request.sampling.temperature else 0.0 for request in requests]
        uniforms = torch.tensor(numbers, dtype=torch.float64, device=logits.device)
        alike: dict[Sampling, list[int]] = {}
        for row, request in enumerate(requests):
            alike.setdefault(request.sampling, []).append(row)
        if len(alike) == 1:
            return draw(logits, uniforms, requests[0].sampling)
        tokens = torch.empty(len(requests), dtype=torch.long, device=logits.device)
        logprobs = torch.empty(len(requests), device=logits.device)
        for sampling, rows in alike.items():
            part = draw(logits[rows], uniforms[rows], sampling)
            tokens[rows], logprobs[rows] = part.tokens, part.logprobs.to(logprobs.dtype)
        return Drawn(tokens, logprobs)

    def _read(self, request: Request) -> None:
        """End ``request`` where its text holds a stop string; give it its text where it has ended."""
        assert self.decode is not None  # ``groups_of`` refuses stop strings without it
        stops = request.group.ask.stop if len(request.ids) >= request.group.ask.min_new_tokens else ()
        likely = stops and (request.done or self._glimpsed(request, stops))
        if likely and _first(self.decode(request.ids), stops) is not None:
            self._cut(request, stops)
        elif request.done:
            request.text = self.decode(request.ids)

    def _glimpsed(self, request: Request, stops: Sequence[str]) -> bool:
        assert self.decode is not None
        window = max(len(stop.encode()) for stop in stops) + _MARGIN
        return _first(self.decode(request.ids[-window:]), stops) is not None

    def _cut(self, request: Request, stops: Sequence[str]) -> None:
        """End ``request`` at the first token that completes a stop string."""
        assert self.decode is not None
        keep, least = len(request.ids), max(1, request.group.ask.min_new_tokens)
        while keep > least and _first(self.decode(request.ids[: keep - 1]), stops) is not None:
            keep -= 1
        del request.ids[keep:], request.logprobs[keep:], request.drawn_logprobs[keep:]
        text = self.decode(request.ids)
        request.stop = found = _first(text, stops)
        assert found is not None
        request.text = text[: text.index(found)]


def _first(text: str, stops: Sequence[str]) -> str | None:
    """The stop string that begins first in ``text`` (the longest of those that begin there)."""
    places = [(text.index(stop), -len(stop), stop) for stop in stops if stop in text]
    return min(places)[2] if places else None
