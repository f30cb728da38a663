"""Several tasks, one body: classes, any number of them, or a number, each told by outputs of its own (Liu et al. 2019,
MT-DNN, section 3, arXiv 1901.11504; Caruana 1997). A row may have labels of some tasks only:

    L = Σ_t w_t · ( Σ_{i has t} ℓ_ti / Σ_{i has t} v_ti )

with ℓ and v as in ``classify`` and ``regress``: each task is divided by its own count, so a task that few rows have
weighs as much as one that all have. All outputs are one linear layer, cut at the borders of the tasks, and nothing but
the body is shared; the model stays one that transformers knows.

An example's labels are, for every task it has, the task's number, how many labels follow, and these.
The trap: an update without a row of a task has the sum 0 of it, and the count 1 instead of 0.

Shape legend: ``E`` examples, ``n`` those of one task, ``C`` outputs of all tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import Judged, TaskHead, Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.collate import labelled
from tunesmith.data.formats.base import BadRow
from tunesmith.data.formats.labelled import NAMES, labels_of
from tunesmith.errors import UserError
from tunesmith.objectives.base import ObjectiveConfig
from tunesmith.objectives.classify import Classify
from tunesmith.objectives.reading import numbers_in, read_whole
from tunesmith.objectives.regress import Regress

if TYPE_CHECKING:
    import torch

Weight = Annotated[float, Field(gt=0.0)]


class ClassTask(Classify):
    """One class a text, or several."""

    kind: Literal["classify"]
    """What kind of task it is."""
    column: str | None = None
    """The column of its labels; by default the one with the task's own name."""
    weight: Weight = 1.0
    """What its mean loss weighs in the sum."""


class NumberTask(Regress):
    """A number for a text."""

    kind: Literal["regress"]
    """What kind of task it is."""
    column: str | None = None
    """The column of its numbers; by default the one with the task's own name."""
    weight: Weight = 1.0
    """What its mean loss weighs in the sum."""


Task = Annotated[ClassTask | NumberTask, Field(discriminator="kind")]


class Multi(ObjectiveConfig):
    """Several classifications and regressions of a text by one model, also from rows with labels of some only."""

    NAME: ClassVar[str] = "multi"
    paper: ClassVar[str] = "Liu et al. 2019, MT-DNN, section 3 (arXiv 1901.11504)"
    want: ClassVar[Want] = Want(logprob=False, scores=True)
    judged: ClassVar[Judged] = "labels"

    tasks: dict[str, Task]
    """Tasks by name: `{mood: classify, stars: {kind: regress, column: rating, weight: 0.5}}`. `kind` is `classify` or
    `regress`; a task has the options of that objective, its `column` (by default its own name) and its `weight`. Where
    sources call a column alike and mean different tasks, rename it there: `{path: a.csv, columns: {mood: label}}`."""

    @model_validator(mode="before")
    @classmethod
    def _names_tasks(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("tasks"):
            raise ValueError(
                "no task is named: set objective.tasks to the columns of their labels and what each of them is, such "
                "as {mood: classify, stars: regress}"
            )
        return values

    @field_validator("tasks", mode="before")
    @classmethod
    def _accept_kinds(cls, tasks: Any) -> Any:
        if not isinstance(tasks, dict):
            return tasks
        return {name: {"kind": task} if isinstance(task, str) else task for name, task in tasks.items()}

    def head(self) -> TaskHead:
        """The outputs of all tasks."""
        heads = {name: task.head() for name, task in self.tasks.items()}
        labels = tuple(f"{name}: {label}" for name, head in heads.items() for label in head.labels)
        return TaskHead("tasks", labels, tasks=heads)

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """What each task learns from the rows that have it."""
        rows: dict[str, list[Record]] = {name: [] for name in self.tasks}
        for record in records:
            for name, labels in self.labels_in(record).items():
                rows[name].append(Record(text="", labels=labels))
        found = {}
        for name, task in self.tasks.items():
            if not rows[name]:
                raise UserError(
                    f"no training row has a label of the task '{name}'",
                    got=f"the column '{task.column or name}'",
                    hint=f"Name its column: objective.tasks.{name}.column.",
                    code="task-without-rows",
                )
            try:
                learned = task.learn(rows[name], max_tokens=max_tokens)
            except UserError as error:
                what = f"task '{name}': {error.what}"
                raise UserError(what, got=error.got, allowed=error.allowed, hint=error.hint, code=error.code) from None
            found[name] = {**task.model_dump(exclude_unset=True), **learned}
        return {"tasks": found}

    def labels_in(self, record: Record) -> dict[str, tuple[str, ...]]:
        """The labels of the tasks that a row has, by task."""
        found = {}
        for name, task in self.tasks.items():
            column = task.column or name
            if record.meta.get(column) is not None:
                found[name] = labels_of(record.meta[column])
            elif column in NAMES["label"] and record.labels is not None:
                found[name] = record.labels
        return found

    def asked(self, record: Record) -> Record:
        """``record`` with labels that stand for those that are not known."""
        name, head = next(iter(self.head().tasks.items()))
        unknown: Any = {"class": head.labels[:1], "classes": (), "number": ("0",)}[head.problem]
        return replace(record, meta={self.tasks[name].column or name: unknown})

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """The text with its labels of every task that it has."""
        numbers: list[int] = []
        for at, (name, task) in enumerate(self.tasks.items()):
            labels = self.labels_in(record).get(name)
            if labels is None:
                continue
            try:
                own = task.numbers(labels, record)
            except BadRow as bad:
                raise BadRow(f"task '{name}': {bad}") from None
            numbers += [at, len(own), *own]
        if not numbers:
            raise BadRow("the row has no label of any task")
        return [read_whole(record, encoder, numbers)]

    def parts(self, examples: Sequence[Example]) -> dict[str, dict[int, Example]]:
        """For each task the examples that have it, with its labels alone, by their place in ``examples``."""
        import numpy as np

        names = list(self.tasks)
        found: dict[str, dict[int, Example]] = {name: {} for name in names}
        for place, example in enumerate(examples):
            labels, at = numbers_in(example), 0
            while at < len(labels):
                task, first, last = labels[at], at + 2, at + 2 + labels[at + 1]
                found[names[task]][place] = replace(example, labels=np.array(labels[first:last], dtype=np.int32))
                at = last
        return found

    def words(self, example: Example) -> str:
        """What it has of each task."""
        parts = self.parts([example])
        return "; ".join(f"{name}: {self.tasks[name].words(own[0])}" for name, own in parts.items() if own)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch; ``extras`` hold for each task the examples that have it, their labels and weights."""
        import torch

        batch = labelled(examples, labels=torch.zeros(len(examples)))
        extras: dict[str, torch.Tensor] = {}
        for name, own in self.parts(examples).items():
            if own:
                labels, weights = self.tasks[name].targets(list(own.values()))
                found = {"rows": torch.tensor(list(own)), "labels": labels, "weights": weights}
                extras |= {f"{name}/{what}": values for what, values in found.items()}
        return replace(batch, extras=extras)

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """For each task the texts of the update that have it, by the weight of their class."""
        parts = self.parts(examples)
        return {name: sum(self.tasks[name].counts(list(own.values())).values()) or 1.0 for name, own in parts.items()}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """A term a task: the weighted loss of each text, 0 of those that do not have it."""
        assert outputs.scores is not None
        places = self.head().places()
        return [
            Term(name, self._values(name, outputs.scores[:, places[name]], batch), task.weight)
            for name, task in self.tasks.items()
        ]

    def _values(self, name: str, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """``[E]`` from the scores of a task for every example."""
        values = scores.new_zeros(batch.examples)
        rows = batch.extras.get(f"{name}/rows")
        if rows is None:
            return values
        losses = self.tasks[name].losses(scores[rows], batch.extras[f"{name}/labels"])
        return values.index_add(0, rows, losses * batch.extras[f"{name}/weights"].to(losses))
