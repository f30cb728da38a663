"""Running a task head over held-out rows: scores and loss of each, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Encoder, Record
from tunesmith.contracts.objective import Objective, TaskHead
from tunesmith.data.framing import Window
from tunesmith.evaluation.embedding import evaluate_embeddings
from tunesmith.evaluation.labels import Given, LabelReport
from tunesmith.evaluation.loss import content_of, microbatches
from tunesmith.evaluation.spans import best_answer
from tunesmith.evaluation.tasks import TaskPart, TasksReport, TasksSums
from tunesmith.generation.inference import inference
from tunesmith.metrics.auroc import auroc_parts
from tunesmith.metrics.exact_match import exact_match
from tunesmith.metrics.f1 import token_f1
from tunesmith.models.policy import CausalPolicy

SURE = 0.5
"""The probability from which a label is said, where a text has any number of them."""


@dataclass(frozen=True)
class Scored:
    """Scores ``[n, C]`` of one example's targets, its summed loss and what that is divided by.

    ``losses`` are those of each task, where there are several.
    """

    scores: NDArray[np.float64]
    loss: float
    weight: float
    losses: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Questions:
    """The rows behind the examples, where answers are texts and have to be read there."""

    records: Mapping[int, Record]
    encoder: Encoder


class HasTasks(Protocol):
    """The part of the objective ``multi`` that is needed here."""

    tasks: Mapping[str, Any]

    def parts(self, examples: Sequence[Example]) -> Mapping[str, Mapping[int, Example]]:
        """For each task the examples that have it, with its labels alone, by place."""
        ...


class FindsAnswers(Protocol):
    """The part of the objective ``span`` that is needed here."""

    longest_answer: int
    unanswerable: bool

    def windows(self, record: Record, encoder: Encoder) -> list[Window]:
        """The windows of a row."""
        ...


def evaluate_task(
    policy: CausalPolicy,
    objective: Objective,
    examples: Sequence[Example],
    *,
    tokens_per_microbatch: int,
    questions: Questions | None = None,
) -> LabelReport | TasksReport:
    """Metrics of ``examples`` (labelled) without gradients; ``questions`` where answers are texts."""
    task = objective.head()
    assert task is not None
    if task.problem == "embedding":
        embeds: Any = objective
        return evaluate_embeddings(policy, embeds, examples, tokens_per_microbatch=tokens_per_microbatch)
    scored = score(policy, objective, examples, tokens_per_microbatch=tokens_per_microbatch)
    if task.problem == "span":
        assert questions is not None
        return LabelReport(_answers(task, objective, examples, scored, questions))
    if task.problem == "tasks":
        return TasksReport(TasksSums(_tasks(task, objective, examples, scored)))
    return LabelReport(_given(task, examples, scored))


def score(
    policy: CausalPolicy, objective: Objective, examples: Sequence[Example], *, tokens_per_microbatch: int
) -> list[Scored]:
    """Scores and loss of every example, in their order."""
    found: dict[int, Scored] = {}
    for numbers in microbatches([len(example) for example in examples], tokens_per_microbatch):
        chosen = [examples[number] for number in numbers]
        batch = objective.collate(chosen).to(policy.device)
        with inference(policy):
            outputs = policy(batch, objective.want)
            terms = objective.loss(outputs, batch)
        assert outputs.scores is not None
        loss = sum((term.weight * term.values.double() for term in terms), torch.zeros(())).tolist()
        losses = {term.name: term.values.tolist() for term in terms}
        parts = outputs.scores.double().cpu().split([example.targets for example in chosen])
        for at, (number, example, part) in enumerate(zip(numbers, chosen, parts, strict=True)):
            own = {name: values[at] for name, values in losses.items()}
            found[number] = Scored(part.numpy(), loss[at], sum(objective.counts([example]).values()), own)
    return [found[number] for number in range(len(examples))]


def _given(task: TaskHead, examples: Sequence[Example], scored: Sequence[Scored]) -> Given:
    wanted, said, columns = _SAID[task.problem](task, examples, scored)
    return Given(
        task.problem,
        task.labels,
        np.array([one.loss for one in scored]),
        np.array([one.weight for one in scored]),
        wanted,
        said,
        columns,
        np.array([example.source for example in examples], dtype=np.int64),
        np.array([content_of(example) for example in examples], dtype=np.int64),
    )


def _tasks(
    task: TaskHead, objective: Any, examples: Sequence[Example], scored: Sequence[Scored]
) -> dict[str, TaskPart]:
    """What is said of each task, of the examples that have it; without tasks that none has."""
    multi: HasTasks = objective
    places, found = task.places(), {}
    for name, own in multi.parts(examples).items():
        single = multi.tasks[name]
        parts = [
            Scored(scored[at].scores[:, places[name]], scored[at].losses[name], sum(single.counts([one]).values()))
            for at, one in own.items()
        ]
        if own:
            given = _given(task.tasks[name], list(own.values()), parts)
            found[name] = TaskPart(given, np.array(list(own), dtype=np.int64), single.weight)
    return found


Said = tuple[list[Any], list[Any], dict[str, NDArray[np.float64]]]


def _labels(example: Example) -> list[int]:
    return [] if example.labels is None else example.labels.tolist()


def _one_class(_: TaskHead, examples: Sequence[Example], scored: Sequence[Scored]) -> Said:
    scores = np.concatenate([one.scores for one in scored])
    wanted = np.array([_labels(example)[0] for example in examples], dtype=np.int64)
    said = scores.argmax(axis=1)
    columns = {
        "accuracy": (said == wanted).astype(np.float64),
        "confidence": softmax(scores).max(axis=1),
        "auroc": auroc_parts(scores, wanted),
    }
    return wanted.tolist(), said.tolist(), columns


def _classes(_: TaskHead, examples: Sequence[Example], scored: Sequence[Scored]) -> Said:
    said = [np.flatnonzero(sigmoid(one.scores[0]) >= SURE).tolist() for one in scored]
    return [_labels(example) for example in examples], said, {}


def _number(task: TaskHead, examples: Sequence[Example], scored: Sequence[Scored]) -> Said:
    bits = np.array([_labels(example)[0] for example in examples], dtype=np.int32)
    return bits.view(np.float32).astype(float).tolist(), [number_said(task, one) for one in scored], {}


def number_said(task: TaskHead, scored: Scored) -> float:
    """The number that an output stands for, in the unit of the rows."""
    return task.mean + task.deviation * float(scored.scores[0, 0])


def _words(_: TaskHead, examples: Sequence[Example], scored: Sequence[Scored]) -> Said:
    return [_labels(example) for example in examples], [one.scores.argmax(axis=1).tolist() for one in scored], {}


_SAID: Mapping[str, Callable[[TaskHead, Sequence[Example], Sequence[Scored]], Said]] = {
    "class": _one_class,
    "classes": _classes,
    "number": _number,
    "tokens": _words,
}


def _answers(
    task: TaskHead, objective: Any, examples: Sequence[Example], scored: Sequence[Scored], questions: Questions
) -> Given:
    """One unit a question: the answer over all windows of its context."""
    finder: FindsAnswers = objective
    rows = list(_by_row(examples))
    wanted, said = [], []
    for numbers in rows:
        record = questions.records[examples[numbers[0]].row]
        text = record.text or ""
        scores = [scored[number].scores for number in numbers]
        found = best_answer(
            finder.windows(record, questions.encoder),
            scores,
            longest=finder.longest_answer,
            unanswerable=finder.unanswerable,
        )
        wanted.append([text[left:right] for left, right in record.spans] or [""])
        said.append(text[found.left : found.right].strip())
    best = {
        name: np.array([max(metric(one, text) for text in texts) for one, texts in zip(said, wanted, strict=True)])
        for name, metric in (("exact_match", exact_match), ("f1", token_f1))
    }
    first = [examples[numbers[0]] for numbers in rows]
    return Given(
        task.problem,
        task.labels,
        np.array([sum(scored[number].loss for number in numbers) for numbers in rows]),
        np.array([sum(scored[number].weight for number in numbers) for numbers in rows]),
        wanted,
        said,
        best,
        np.array([example.source for example in first], dtype=np.int64),
        np.array([content_of(example) for example in first], dtype=np.int64),
    )


def _by_row(examples: Sequence[Example]) -> Iterator[list[int]]:
    """Numbers of the examples of each row, which follow one another."""
    rows: dict[int, list[int]] = {}
    for number, example in enumerate(examples):
        rows.setdefault(example.row, []).append(number)
    yield from rows.values()


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities ``[n, C]`` of one class each."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def sigmoid(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of scores, each on its own."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * scores)))
