"""Generation for families that cannot be driven flat: transformers' own ``generate`` on left-padded batches.

Tokens are still chosen by this project's rules, one seed a request: a logits processor makes the choice and leaves
only the chosen token possible, so that greedy search must take it. Defaults of the model's generation config
(penalties, its own sampling) are set aside meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from tunesmith.generation.requests import Request
from tunesmith.generation.rules import Rules
from tunesmith.models.policy import CausalPolicy


def padded_answers(
    policy: CausalPolicy, requests: Sequence[Request], rules: Rules, *, batch: int
) -> Iterator[Sequence[Request]]:
    """Finish ``requests`` (longest prompt first), ``batch`` at a time, and yield each batch.

    Requests of one batch share a length limit, so that no answer depends on its neighbours. Each ``next`` runs the
    model: call it without gradients and in eval mode. A prompt is computed once a sample.
    """
    start = 0
    while start < len(requests):
        limit = requests[start].limit
        end = start
        while end < len(requests) and end - start < batch and requests[end].limit == limit:
            end += 1
        _run(policy, requests[start:end], rules)
        yield requests[start:end]
        start = end


def _run(policy: CausalPolicy, requests: Sequence[Request], rules: Rules) -> None:
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    longest = max(len(request.prompt) for request in requests)
    ids = torch.zeros(len(requests), longest, dtype=torch.long)
    real = torch.zeros_like(ids)
    for row, request in enumerate(requests):
        ids[row, longest - len(request.prompt) :] = torch.tensor(request.prompt)
        real[row, longest - len(request.prompt) :] = 1
    own = policy.model.generation_config
    policy.model.generation_config = GenerationConfig()
    try:
        policy.model.generate(
            ids.to(policy.device),
            attention_mask=real.to(policy.device),
            generation_config=GenerationConfig(max_new_tokens=requests[0].limit, do_sample=False, pad_token_id=0),
            logits_processor=LogitsProcessorList([_Chooser(requests, rules)]),
            stopping_criteria=StoppingCriteriaList([_Ended(requests)]),
        )
    finally:
        policy.model.generation_config = own


class _Chooser:
    """A logits processor that appends the chosen token to each unfinished request and forces it."""

    def __init__(self, requests: Sequence[Request], rules: Rules) -> None:
        self._requests, self._rules = requests, rules

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, float("-inf"))
        forced[:, 0] = 0.0
        open_rows = [row for row, request in enumerate(self._requests) if not request.done]
        tokens = self._rules.extend([self._requests[row] for row in open_rows], scores[open_rows].float())
        forced[open_rows, 0] = float("-inf")
        forced[open_rows, tokens] = 0.0
        return forced


class _Ended:
    """A stopping criterion: the rules know which requests are done (``bool [N]``)."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = requests

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return torch.tensor([request.done for request in self._requests], device=input_ids.device)
