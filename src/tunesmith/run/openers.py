"""Models that steps of curation ask (``data.curate.models.Models``): each opened once, on the device there is.

encoder      a run of the objective embed; a sentence-transformers folder; any encoder, mean of its last states
language     any run or base model with a language head
reward       a run of the objective reward
judge        a server
classifier   a run of the objective classify; a transformers folder for sequence classification
tagger       a transformers folder for token classification
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Encoding, Record
from tunesmith.contracts.objective import TaskHead
from tunesmith.contracts.reward import Reward
from tunesmith.data.curate.models import Classify, Embed, Read, Span, Surprise, Tag
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError
from tunesmith.evaluation.loss import evaluate_loss
from tunesmith.interop.sentence_transformers import POOLING
from tunesmith.models.load import load_task_model, load_tokenizer
from tunesmith.objectives.sft import Sft
from tunesmith.rewards.judge import Judge
from tunesmith.rewards.model import Opened
from tunesmith.run.embedding import vectors
from tunesmith.run.predict import predictions
from tunesmith.run.scoring import open_scorer
from tunesmith.run.session import Session
from tunesmith.run.use import open_any, open_run

BATCH = 32
"""Texts read at once; they are sorted by length, so that little is padding."""
LONGEST = 256
"""Most tokens of a text that is embedded or classified, where the folder names no other number."""


class Openers:
    """Opens models; one that is open already is handed out again."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Any] = {}

    def encoder(self, name: str) -> Embed:
        """Vectors of length 1."""
        return self._once("encoder", name, _encoder)

    def language(self, name: str, max_tokens: int) -> Read:
        """How surprising answers are."""
        return self._once(f"language {max_tokens}", name, lambda one: _Reader(_spoken(one, max_tokens)))

    def reward(self, path: str) -> Reward:
        """The scores of a reward model."""
        return self._once("reward", path, lambda one: Opened(open_scorer(one)))

    def judge(self, options: Mapping[str, Any]) -> Reward:
        """The scores of a language model on a server, which is asked one question at once."""
        return Judge(**options).ready(None)

    def classifier(self, name: str) -> Classify:
        """Probabilities of labels."""
        return self._once("classifier", name, _classifier)

    def tagger(self, name: str) -> Tag:
        """Named things in texts."""
        return self._once("tagger", name, _Tagger.of)

    def _once(self, kind: str, name: str, opener: Callable[[str], Any]) -> Any:
        if (kind, name) not in self._open:
            self._open[kind, name] = opener(name)
        return self._open[kind, name]


def _is_run(name: str) -> bool:
    return (Path(name).expanduser() / "recipe.yaml").is_file()


def _encoder(name: str) -> Embed:
    if _is_run(name):
        session = open_run(name)
        return lambda texts: vectors(session, texts)
    return _Encoder(_Body.of(name, "embedding"), _pooling(Path(name).expanduser()))


def _pooling(folder: Path) -> Literal["mean", "first", "last"]:
    """How a sentence-transformers folder makes one vector of many; the mean where it does not say."""
    path = folder / "1_Pooling" / "config.json"
    modes = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if modes.get(POOLING["first"]):
        return "first"
    return "last" if modes.get(POOLING["last"]) else "mean"


@dataclass(frozen=True)
class _Body:
    """A transformers model with its tokenizer, asked in batches of texts of like length."""

    model: Any
    tokenizer: Any
    longest: int

    @classmethod
    def of(cls, name: str, problem: Literal["embedding", "class", "tokens"]) -> _Body:
        tokenizer = load_tokenizer(name)
        loaded = load_task_model(name, TaskHead(problem, ()))
        _refuse_without_head(name, loaded.model.config.architectures or [], problem)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        named = Path(name).expanduser() / "sentence_bert_config.json"
        longest = json.loads(named.read_text(encoding="utf-8"))["max_seq_length"] if named.is_file() else LONGEST
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(loaded.model.to(device), tokenizer, longest)

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Any, Any]]:
        """Which texts, their tokens (with offsets on the CPU), and what the model says of them."""
        order = sorted(range(len(texts)), key=lambda one: len(texts[one]))
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            inputs = self.tokenizer(
                [texts[one] for one in places],
                padding=True,
                truncation=True,
                max_length=self.longest,
                return_offsets_mapping=True,
                return_tensors="pt",
            )
            given = {key: inputs[key].to(self.model.device) for key in self.tokenizer.model_input_names}
            with torch.no_grad():
                yield places, inputs, self.model(**given)


HEADS = {"class": "ForSequenceClassification", "tokens": "ForTokenClassification"}


def _refuse_without_head(name: str, architectures: Sequence[str], problem: str) -> None:
    """``UserError`` where the folder was not trained for ``problem``: its output layer would be random numbers."""
    if problem in HEADS and not any(one.endswith(HEADS[problem]) for one in architectures):
        raise UserError(
            f"the model {name} was not trained for this",
            got=f"its config names {', '.join(architectures) or 'no architecture'}",
            allowed=f"a run, or a transformers folder …{HEADS[problem]}",
            code="no-task-head",
        )


@dataclass(frozen=True)
class _Encoder:
    body: _Body
    pooling: Literal["mean", "first", "last"]

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found: dict[int, Any] = {}
        for places, inputs, outputs in self.body.batches(texts):
            pooled = self._pooled(outputs.last_hidden_state.float(), inputs["attention_mask"])
            unit = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
            found.update(zip(places, unit, strict=True))
        return np.stack([found[place] for place in range(len(texts))])

    def _pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """``[n, T, d] -> [n, d]``."""
        if self.pooling == "first":
            return states[:, 0]
        seen = mask.to(states.device, states.dtype)
        if self.pooling == "last":
            return states[torch.arange(len(states)), seen.sum(dim=1).long() - 1]
        return (states * seen[..., None]).sum(dim=1) / seen.sum(dim=1, keepdim=True)


def _classifier(name: str) -> Classify:
    if _is_run(name):
        session = open_run(name)
        return lambda texts: [_probabilities(one) for one in predictions(session, texts)]
    return _Classifier(_Body.of(name, "class"))


def _probabilities(said: Mapping[str, Any]) -> dict[str, float]:
    if "probabilities" not in said:
        raise UserError("the run gives no probabilities of labels", allowed="objective classify", code="no-labels")
    return dict(said["probabilities"])


@dataclass(frozen=True)
class _Classifier:
    body: _Body

    def __call__(self, texts: Sequence[str]) -> list[dict[str, float]]:
        config = self.body.model.config
        several = config.problem_type == "multi_label_classification"
        found: dict[int, dict[str, float]] = {}
        for places, _, outputs in self.body.batches(texts):
            scores = outputs.logits.float()
            shares = (scores.sigmoid() if several else scores.softmax(dim=1)).tolist()
            named = ({config.id2label[at]: value for at, value in enumerate(one)} for one in shares)
            found.update(zip(places, named, strict=True))
        return [found[place] for place in range(len(texts))]


@dataclass(frozen=True)
class _Tagger:
    body: _Body

    @classmethod
    def of(cls, name: str) -> _Tagger:
        return cls(_Body.of(name, "tokens"))

    def __call__(self, texts: Sequence[str]) -> list[list[Span]]:
        names = self.body.model.config.id2label
        found: dict[int, list[Span]] = {}
        for places, inputs, outputs in self.body.batches(texts):
            tags = outputs.logits.argmax(dim=2).tolist()
            for place, offsets, tagged in zip(places, inputs["offset_mapping"].tolist(), tags, strict=True):
                found[place] = _spans(offsets, [names[one] for one in tagged])
        return [found[place] for place in range(len(texts))]


def _spans(offsets: Sequence[Sequence[int]], tags: Sequence[str]) -> list[Span]:
    """Neighbouring tokens of one kind as one span; ``O`` is no kind, ``B-`` begins one anew."""
    found: list[Span] = []
    open_kind = ""
    for (start, end), tag in zip(offsets, tags, strict=True):
        if start == end:  # a special token
            continue
        kind = "" if tag == "O" else tag.split("-", 1)[-1]
        if kind and kind == open_kind and not tag.startswith("B-"):
            found[-1] = Span(found[-1].start, end, kind)
        elif kind:
            found.append(Span(start, end, kind))
        open_kind = kind
    return found


def _spoken(name: str, max_tokens: int) -> Session:
    """A language model, with the plain template where it has none of its own."""
    session = open_any(name, max_tokens=max_tokens)
    if session.task is None and session.encoder.template is None:
        session = open_any(name, max_tokens=max_tokens, template="plain")
    if session.task is not None:
        raise UserError(
            f"the model {name} writes no text, so nothing surprises it",
            got=f"objective {session.recipe.objective.name}",
            allowed="a language model",
            code="no-language-head",
        )
    return session


@dataclass(frozen=True)
class _Reader:
    """A language model that reads answers after their questions, and alone."""

    session: Session

    def __call__(self, records: Sequence[Record]) -> list[Surprise | None]:
        read = {place: one for place, record in enumerate(records) if (one := self._encoded(record)) is not None}
        longest = self.session.recipe.data.max_tokens
        first = self.session.encoder.framed("a").ids[:1] if self.session.tokenizer.bos_token_id is not None else []
        asked, alone = [], []
        for place, encoding in read.items():
            ids, flags = encoding.ids, encoding.trained
            asked.append(_example(place, ids[-longest:], flags[-longest:]))
            said = [*first, *(one for one, flag in zip(ids, flags, strict=True) if flag)][:longest]
            alone.append(_example(place, said, [False] + [True] * (len(said) - 1)))
        given, bare = self._nats(asked), self._nats(alone)
        return [
            Surprise(given[place][0], bare[place][0], given[place][1]) if place in read else None
            for place in range(len(records))
        ]

    def _encoded(self, record: Record) -> Encoding | None:
        encoder = self.session.encoder
        try:
            (encoding,) = encoder.text(record.text) if record.text else encoder.conversation(record, "last-answer")
        except (BadRow, ValueError):
            return None
        kept = encoding.trained[-self.session.recipe.data.max_tokens :]
        return encoding if any(kept[1:]) else None

    def _nats(self, examples: Sequence[Example]) -> dict[int, tuple[float, int]]:
        """Example's row -> nats a token, tokens."""
        scored = [one for one in examples if one.trained[1:].any()]
        if not scored:
            return {one.row: (0.0, 0) for one in examples}
        tokens = int(self.session.recipe.train.tokens_per_microbatch)
        sums = evaluate_loss(self.session.policy, Sft(), scored, tokens_per_microbatch=tokens).sums
        means = (sums.nll / np.maximum(sums.tokens, 1)).tolist()
        counts = sums.tokens.astype(int).tolist()
        found = {one.row: pair for one, pair in zip(scored, zip(means, counts, strict=True), strict=True)}
        return {one.row: found.get(one.row, (0.0, 0)) for one in examples}


def _example(row: int, ids: Sequence[int], trained: Sequence[bool]) -> Example:
    flags = np.array(trained, dtype=np.bool_)
    flags[:1] = False  # nothing stands before the first token that could tell it
    return Example(np.array(ids, dtype=np.int32), flags, row)
