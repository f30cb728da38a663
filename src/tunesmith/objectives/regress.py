"""Regression: a number for a text (or a pair of texts), by the mean squared error

    L = Σ_i (s_i − (y_i − m) / d)² / n ,        and what is said of a text is  m + d · s .

As they are written the numbers have m = 0 and d = 1. The score starts near 0 and moves by about a learning rate an
update, so numbers far from 0, or much larger than 1, take long to reach: ``standardise`` sets m and d to the mean and
the standard deviation of the training rows. Both are kept with the run, and predictions are in the rows' own unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import Judged, TaskHead, Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.collate import labelled
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError
from tunesmith.objectives.base import ObjectiveConfig
from tunesmith.objectives.reading import labels_in, numbers_in, read_whole, summed
from tunesmith.recipe.base import Config

if TYPE_CHECKING:
    import torch

NAME = "squared_error"


class Scale(Config):
    """What a score of 0 stands for, and how far from it a score of 1 is."""

    mean: float = 0.0
    """The number of a score of 0."""
    deviation: Annotated[float, Field(gt=0.0)] = 1.0
    """How much more a score of 1 stands for."""


class Regress(ObjectiveConfig):
    """Predict a number for a text or a pair of texts."""

    NAME: ClassVar[str] = "regress"
    paper: ClassVar[str] = ""
    formats: ClassVar[tuple[str, ...]] = ("labelled",)
    want: ClassVar[Want] = Want(logprob=False, scores=True)
    judged: ClassVar[Judged] = "labels"

    standardise: bool | Scale = False
    """Learn `(number - mean) / deviation` instead of the number: `true` takes both from the training rows,
    `{mean: 3.2, deviation: 1.1}` gives them. Predictions and metrics but the loss stay in the rows' own unit."""

    @property
    def scale(self) -> Scale:
        """Mean and deviation, as far as they are known."""
        return self.standardise if isinstance(self.standardise, Scale) else Scale()

    def head(self) -> TaskHead:
        """One score."""
        return TaskHead("number", ("value",), mean=self.scale.mean, deviation=self.scale.deviation)

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """Mean and standard deviation of the rows' numbers, where they are asked for."""
        if self.standardise is not True:
            return {}
        numbers = [number for record in records if (number := number_of(record.labels)) is not None]
        mean = math.fsum(numbers) / max(1, len(numbers))
        deviation = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / max(1, len(numbers)))
        if not deviation > 0.0:
            raise UserError(
                "there is no deviation to standardise by: the training rows have "
                + (f"only the number {mean:g}" if numbers else "no number"),
                allowed="rows with at least two different numbers",
                code="one-number",
            )
        return {"standardise": {"mean": mean, "deviation": deviation}}

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """The text with its number."""
        return [read_whole(record, encoder, self.numbers(labels_in(record), record))]

    def numbers(self, names: Sequence[str], record: Record) -> list[int]:
        """The number as an example holds it: its float32 bits as an int32 label."""
        import numpy as np

        if len(names) != 1:
            raise BadRow(f"the row has {len(names)} labels, and one number is wanted")
        value = number_of(names)
        if value is None:
            raise BadRow(f"the label '{names[0]}' is no finite number")
        return [int(np.float32(value).view(np.int32))]

    def words(self, example: Example) -> str:
        """The number."""
        return f"{self.values([example])[0]:g}"

    def values(self, examples: Sequence[Example]) -> list[float]:
        """The numbers of ``examples`` as they are written in the rows."""
        import numpy as np

        bits = np.array([numbers_in(example)[0] for example in examples], dtype=np.int32)
        return bits.view(np.float32).astype(np.float64).tolist()

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch with the labels of ``targets``."""
        return labelled(examples, *self.targets(examples))

    def targets(self, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels float32 ``[N]``, standardised, and weights of 1."""
        import torch

        values = torch.tensor(self.values(examples), dtype=torch.float64)
        return ((values - self.scale.mean) / self.scale.deviation).float(), torch.ones(len(examples))

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Texts of the update."""
        return {NAME: float(len(examples))}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The squared error of each text."""
        assert outputs.scores is not None
        return summed(NAME, self.losses(outputs.scores, batch.readout.labels), batch)

    def losses(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss ``[N]`` of each text: scores ``[N, 1]``, labels as ``targets`` gives them."""
        return (scores[:, 0] - labels).square()


def number_of(labels: Sequence[str] | None) -> float | None:
    """The only label as a finite number; None where it is none."""
    try:
        value = float(labels[0]) if labels is not None and len(labels) == 1 else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
