"""Generation for families that cannot be driven flat: transformers' own ``generate`` on left-padded batches.

Tokens are still chosen by this project's rules, one seed a request: a logits processor makes the choice and leaves
only the chosen token possible, so that greedy search must take it. Defaults of the model's generation config
(penalties, its own sampling) are set aside meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from tunesmith.generation.inference import inference
from tunesmith.generation.requests import Request, Rules
from tunesmith.models.policy import CausalPolicy


def padded_answers(policy: CausalPolicy, requests: Sequence[Request], rules: Rules, *, batch: int) -> Iterator[Request]:
    """Finish ``requests`` (longest prompt first), ``batch`` at a time, and yield them.

    Requests of one batch share a length limit, so that no answer depends on its neighbours.
    """
    start = 0
    while start < len(requests):
        limit = requests[start].limit
        end = start
        while end < len(requests) and end - start < batch and requests[end].limit == limit:
            end += 1
        _run(policy, requests[start:end], rules)
        yield from requests[start:end]
        start = end


def _run(policy: CausalPolicy, requests: Sequence[Request], rules: Rules) -> None:
    from transformers import GenerationConfig, LogitsProcessorList

    longest = max(len(request.prompt) for request in requests)
    ids = torch.zeros(len(requests), longest, dtype=torch.long)
    real = torch.zeros_like(ids)
    for row, request in enumerate(requests):
        ids[row, longest - len(request.prompt) :] = torch.tensor(request.prompt)
        real[row, longest - len(request.prompt) :] = 1
    own = policy.model.generation_config
    policy.model.generation_config = GenerationConfig()
    try:
        with inference(policy):
            policy.model.generate(
                ids.to(policy.device),
                attention_mask=real.to(policy.device),
                generation_config=GenerationConfig(
                    max_new_tokens=requests[0].limit,
                    do_sample=False,
                    eos_token_id=sorted(rules.stop_ids) or None,
                    pad_token_id=0,
                ),
                logits_processor=LogitsProcessorList([_Chooser(requests, rules)]),
            )
    finally:
        policy.model.generation_config = own


class _Chooser:
    """A logits processor that appends the chosen token to each unfinished request and forces it."""

    def __init__(self, requests: Sequence[Request], rules: Rules) -> None:
        self._requests, self._rules = requests, rules

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        open_rows = [row for row, request in enumerate(self._requests) if not request.done]
        tokens = self._rules.extend([self._requests[row] for row in open_rows], scores[open_rows].float())
        forced = torch.full_like(scores, float("-inf"))
        forced[:, 0] = 0.0
        forced[open_rows] = float("-inf")
        forced[open_rows, tokens] = 0.0
        return forced
