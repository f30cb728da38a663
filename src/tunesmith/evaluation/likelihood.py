"""How likely a model finds given continuations: the scorer behind multiple choice.

    log p(continuation | context) = Σ_t log p(token_t | context, tokens before t)

Text without a chat template is cut into tokens as EleutherAI's harness does, so that the numbers are the same: blanks
at the context's end move to the continuation, the whole is tokenised at once and the context's tokens are taken off its
front; what is too long loses its beginning. Continuations of one context are computed together, the context once.

The trap: tokenised apart, ``"…:"`` and ``" A"`` are other tokens than ``"…: A"`` for many tokenizers, and scores move.

Shape legend: ``P`` pairs of context and continuation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from torch import nn

from tunesmith.contracts.batch import Example
from tunesmith.data.collate import flatten
from tunesmith.evaluation.loss import microbatches, totals
from tunesmith.metrics.likelihood import Continuation, Likelihood
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.prefixed import context


@dataclass(frozen=True)
class Pair:
    """Token ids of a context (at least one) and of what follows it."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """``text`` as the tokenizer itself encodes it; without its first special token where the text begins with that."""
    first = _prefix(tokenizer)
    spelled = first is not None and text.startswith(tokenizer.decode([first]))
    ids: list[int] = tokenizer.encode(text, **({"add_special_tokens": False} if spelled else {}))
    return ids


def plain_pair(tokenizer: Any, asked: Continuation) -> Pair:
    """Tokens of a context and a continuation joined as they are (see the module's docstring)."""
    begin, text = asked.context, asked.delimiter + asked.text
    if not begin:
        ids, first = tokenizer.encode(text, add_special_tokens=False), _prefix(tokenizer)
        own = first is None or ids[:1] == [first]
        return Pair(tuple(ids[:1]), tuple(ids[1:])) if own else Pair((int(first or 0),), tuple(ids))
    bare = begin.rstrip()
    whole, front = plain_ids(tokenizer, begin + text), plain_ids(tokenizer, bare)
    return Pair(tuple(front), tuple(whole[len(front) :]))


def longest_scored(model: Any) -> int | None:
    """How many tokens of ``model`` can be scored: its context, and a last token where no table of positions ends."""
    own = model.get_input_embeddings()
    table = any(isinstance(module, nn.Embedding) and module is not own for module in model.modules())
    limit = context(model)
    return limit if limit is None or table else limit + 1


def _prefix(tokenizer: Any) -> int | None:
    """What stands for an empty context: the beginning of text, else its end."""
    first: int | None = tokenizer.bos_token_id
    return tokenizer.eos_token_id if first is None else first


@dataclass
class LikelihoodScorer:
    """Scores pairs with ``policy``; what was scored once is remembered.

    ``limit`` is how many tokens a sequence may have, the last of which predicts nothing (None: any number).
    """

    policy: CausalPolicy
    tokens_per_microbatch: int
    limit: int | None = None
    known: dict[Pair, Likelihood] = field(default_factory=dict)

    def __call__(self, pairs: Sequence[Pair], *, on_progress: Callable[[int], None] | None = None) -> list[Likelihood]:
        """Likelihoods of ``pairs``, in their order."""
        wanted = [pair for pair in dict.fromkeys(pairs) if pair not in self.known and pair.continuation]
        examples, owners = self._examples(wanted)
        for numbers in microbatches([len(example) for example in examples], self.tokens_per_microbatch):
            chosen = [examples[number] for number in numbers]
            batch = flatten(chosen).to(self.policy.device)
            found = totals(self.policy, batch, sum(example.sequences for example in chosen))
            for place, pair in enumerate(pair for number in numbers for pair in owners[number]):
                count = int(found.tokens[place])
                self.known[pair] = Likelihood(-float(found.nll[place]), count, int(found.hits[place]) == count)
            if on_progress is not None:
                on_progress(len(self.known))
        return [self.known.get(pair) or Likelihood(0.0, 0, greedy=True) for pair in pairs]

    def _examples(self, pairs: Iterable[Pair]) -> tuple[list[Example], list[list[Pair]]]:
        """Examples, each of all continuations of one context, and the pairs that each holds."""
        examples, owners = [], []
        for begin, same in groupby(sorted(pairs, key=lambda pair: pair.context), key=lambda pair: pair.context):
            group = list(same)
            fits = self.limit is None or all(len(begin) + len(one.continuation) <= self.limit for one in group)
            for part in [group] if fits else [[one] for one in group]:
                examples.append(_example(begin, [one.continuation for one in part], self.limit))
                owners.append(part)
        return examples, owners


def _example(begin: Sequence[int], continuations: Sequence[Sequence[int]], limit: int | None) -> Example:
    """One sequence, or a shared beginning with branches; the beginning is cut at its front where it is too long."""
    if len(continuations) == 1:
        ids = [*begin, *continuations[0]][-(limit or 0) :]
        trained = np.arange(len(ids)) >= max(1, len(ids) - len(continuations[0]))
        return Example(np.array(ids, dtype=np.int32), trained, 0)
    ids = [*begin, *(token for one in continuations for token in one)]
    starts = np.cumsum([len(begin), *(len(one) for one in continuations[:-1])])
    trained = np.arange(len(ids)) >= len(begin)
    return Example(np.array(ids, dtype=np.int32), trained, 0, branches=tuple(int(start) for start in starts))
