"""Measuring a session's model: held-out loss and answers on the task, and what it kept of what it knew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Prompt
from tunesmith.evaluation.answers import AnswerReport, evaluate_answers
from tunesmith.evaluation.loss import LossReport, evaluate_loss
from tunesmith.evaluation.retention import own_text
from tunesmith.events import Event, Sink, silent
from tunesmith.generation.generator import Generator
from tunesmith.metrics.intervals import Estimate, ratio_interval
from tunesmith.recipe import Recipe
from tunesmith.run.session import Session, cache_folder


@dataclass(frozen=True)
class Exam:
    """What is asked before and after, the same rows both times."""

    validation: Sequence[Example]
    prompts: Sequence[Prompt]
    retention: Sequence[Example]


@dataclass(frozen=True)
class Marks:
    """What came out of an exam; parts that were not asked are None."""

    task: LossReport | None
    answers: AnswerReport | None
    retention: LossReport | None

    def as_dict(self) -> dict[str, Any]:
        """``eval/before.json`` and ``eval/after.json``: ``{"task": {name: {value, low, high, n}}, "retention": …}``."""
        task = {**(self.task.metrics() if self.task else {}), **(self.answers.metrics() if self.answers else {})}
        kept = self.retention.metrics() if self.retention else {}
        return {
            "task": {name: estimate.as_dict() for name, estimate in task.items()},
            "retention": {name: estimate.as_dict() for name, estimate in kept.items()},
            "answers": [row.as_dict() for row in self.answers.rows] if self.answers else [],
            "retention_sums": _sums(self.retention),
        }


def generator(session: Session, *, max_new_tokens: int | None = None, batch: int = 32) -> Generator:
    """The generation engine over a session's model, stopping where its chat template's answers end."""
    return Generator(
        session.policy,
        stop_ids=sorted(session.encoder.stop_ids()),
        max_new_tokens=max_new_tokens or session.recipe.evaluate.max_new_tokens,
        batch=batch,
    )


def retention_examples(session: Session, *, emit: Sink = silent) -> list[Example]:
    """Text that shows what the base knows: its own, written before training, or the recipe's files."""
    recipe = session.recipe
    if recipe.retention == "none":
        return []
    if recipe.retention == "auto":
        emit(Event("phase", 0, {"text": "the base writes text of its own, to see later what it forgot"}))
        with session.attached.off():
            return own_text(session.policy, session.tokenizer, cache=cache_folder() / "retention", seed=recipe.seed)
    return from_files(session, recipe)


def from_files(session: Session, recipe: Recipe, *, limit: int = 200) -> list[Example]:
    """Plain text of the recipe's retention files, in pieces of at most 256 tokens."""
    import numpy as np

    examples: list[Example] = []
    for name in recipe.retention:
        text = Path(name).expanduser().read_text(encoding="utf-8")
        for encoding in session.encoder.text(text, max_tokens=256):
            ids, trained = np.array(encoding.ids, dtype=np.int32), np.array(encoding.trained, dtype=bool)
            examples.append(Example(ids, trained, len(examples)))
    return examples[:limit]


def examine(session: Session, exam: Exam, *, emit: Sink = silent, words: str = "measuring") -> Marks:
    """Ask everything of ``exam``."""
    tokens = int(session.recipe.train.tokens_per_microbatch)
    task = answers = retention = None
    if exam.validation:
        emit(Event("phase", 0, {"text": f"{words}: loss on {len(exam.validation)} held-out rows"}))
        task = evaluate_loss(session.policy, session.parts.objective, exam.validation, tokens_per_microbatch=tokens)
    if exam.prompts:
        emit(Event("phase", 0, {"text": f"{words}: answers to {len(exam.prompts)} held-out prompts"}))
        answers = evaluate_answers(generator(session), exam.prompts, decode=session.encoder.decode)
    if exam.retention:
        emit(Event("phase", 0, {"text": f"{words}: what it knew before"}))
        retention = evaluate_loss(session.policy, session.parts.objective, exam.retention, tokens_per_microbatch=tokens)
    return Marks(task, answers, retention)


def forgotten(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Nats a token lost on retention text between two ``Marks.as_dict()``, with an interval paired by sequence.

    Empty where nothing was asked before.
    """
    first, second = before.get("retention_sums") or {}, after.get("retention_sums") or {}
    if not first or first["tokens"] != second.get("tokens"):
        return {}
    return paired_ratio(second["nll"], first["nll"], first["tokens"]).as_dict()


def paired_ratio(after: Sequence[float], before: Sequence[float], tokens: Sequence[float]) -> Estimate:
    """``Σ (after − before) / Σ tokens`` with an interval that redraws whole sequences."""
    change = [new - old for new, old in zip(after, before, strict=True)]
    return ratio_interval(change, tokens)


def _sums(report: LossReport | None) -> dict[str, list[float]]:
    if report is None:
        return {}
    return {"nll": report.sums.nll.tolist(), "tokens": report.sums.tokens.tolist()}
