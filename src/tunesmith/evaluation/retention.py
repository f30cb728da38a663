"""What a base knew before, and how much of it was lost.

For any base there is text that shows what it knew: the text it writes itself. Sequences are sampled at temperature 1
from the beginning-of-text token (or from short word starts where the tokenizer has none), so that the loss before
training estimates the base's own entropy and every nat above it was lost by training. The text belongs to a base's
content, not to a run: it is cached under a hash of weights and tokenizer.

Forgetting is ``(sum nll after - sum nll before) / tokens`` over the same sequences, in nats a token.

The trap: write the text and take the hash before a method is attached.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tunesmith.contracts.batch import Example
from tunesmith.evaluation.loss import LossReport
from tunesmith.files import write_json
from tunesmith.generation.generator import Generator, Sampling
from tunesmith.metrics.intervals import Estimate, ratio_interval
from tunesmith.models.policy import CausalPolicy
from tunesmith.seed import derive

WORD_STARTS = ("The", "I", "In", "A", "It", "He", "She", "We", "This", "When", "There", "To")
_VERSION = 1
"""raised when the same arguments would write another text"""


def base_key(model: nn.Module, tokenizer: Any, *, without: Sequence[str] = ()) -> str:
    """Hex digest of the content of a base: names, dtypes, shapes and bytes of its weights, and its tokenizer.

    ``without`` are paths of modules that were added to it.
    """
    named = sorted(model.state_dict().items())
    return content_key(((name, one) for name, one in named if name.rpartition(".")[0] not in without), tokenizer)


def content_key(weights: Iterable[tuple[str, torch.Tensor]], tokenizer: Any) -> str:
    """``base_key`` of a model with these ``weights``, in the order of their names."""
    digest = hashlib.sha256(_tokenizer_text(tokenizer).encode())
    for name, tensor in weights:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        raw: Any = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(raw)
    return digest.hexdigest()


def own_text(
    policy: CausalPolicy,
    tokenizer: Any,
    *,
    cache: Path,
    key: str | None = None,
    keep: bool = True,
    sequences: int = 64,
    tokens: int = 100,
    seed: int = 0,
) -> list[Example]:
    """Text the base of ``policy`` writes itself: up to ``tokens`` new tokens a sequence, all of them targets.

    Written once a base and found again in ``cache`` (a folder; a damaged file is written anew). ``key`` is the base's
    ``base_key`` from before a method was attached; by default the model is the base. Without ``keep`` new text is not
    put there: what writes it is not the base alone.
    """
    key = key or base_key(policy.model, tokenizer)
    path = _file(cache, key, sequences, tokens, seed)
    found = _read(path)
    if found is None:
        found = _write_text(policy, tokenizer, sequences=sequences, tokens=tokens, seed=seed)
        if keep:
            write_json(path, found)
    return [_example(row, start, ids) for row, (start, ids) in enumerate(found)]


def is_written(cache: Path, key: str, *, sequences: int = 64, tokens: int = 100, seed: int = 0) -> bool:
    """Whether ``own_text`` would find the text of the base ``key``."""
    return _read(_file(cache, key, sequences, tokens, seed)) is not None


def forgetting(before: LossReport, after: LossReport, *, seed: int = 0) -> Estimate:
    """Nats a token lost on the same examples, paired by sequence. Raises ``ValueError`` where the examples differ."""
    if not before.sums.same_sequences(after.sums):
        raise ValueError("forgetting compares the same examples before and after")
    return ratio_interval(after.sums.nll - before.sums.nll, before.sums.tokens, seed=seed)


def _write_text(
    policy: CausalPolicy, tokenizer: Any, *, sequences: int, tokens: int, seed: int
) -> list[tuple[int, list[int]]]:
    """Per sequence the number of given tokens and all ids (the end token last where the base ended it)."""
    starts = _starts(tokenizer)
    prompts = [starts[number % len(starts)] for number in range(sequences)]
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id, policy.model.config.get_text_config().eos_token_id)
    generator = Generator(policy, stop_ids=_flat_ids(ends), max_new_tokens=tokens, batch=sequences)
    seeds = [derive(seed, "own-text", number) for number in range(sequences)]
    answers = generator.generate(prompts, sampling=Sampling(temperature=1.0), seeds=seeds)
    return [
        (len(prompt), [*prompt, *answer.ids, *([answer.stop] if isinstance(answer.stop, int) else [])])
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def _starts(tokenizer: Any) -> list[list[int]]:
    if tokenizer.bos_token_id is not None:
        return [[tokenizer.bos_token_id]]
    return [tokenizer.encode(word, add_special_tokens=False) for word in WORD_STARTS]


def _flat_ids(values: Sequence[Any]) -> list[int]:
    """Token ids out of ids, lists of ids and None, as configs and tokenizers mix them."""
    found: set[int] = set()
    for value in values:
        found.update(value if isinstance(value, list | tuple) else [] if value is None else [value])
    return sorted(found)


def _file(cache: Path, key: str, sequences: int, tokens: int, seed: int) -> Path:
    return cache / f"{key[:32]}-v{_VERSION}-{sequences}x{tokens}-seed{seed}.json"


def _example(row: int, start: int, ids: Sequence[int]) -> Example:
    trained = np.arange(len(ids)) >= start
    return Example(np.array(ids, dtype=np.int32), trained, row)


def _read(path: Path) -> list[tuple[int, list[int]]] | None:
    try:
        return [(int(start), [int(token) for token in ids]) for start, ids in json.loads(path.read_text())]
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _tokenizer_text(tokenizer: Any) -> str:
    """What the tokenizer does with text: its backend's own file, or its vocabulary where it has none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return f"{text} {tokenizer.bos_token_id} {tokenizer.eos_token_id}"
