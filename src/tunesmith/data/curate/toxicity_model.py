"""Toxicity by a model of your own: a text classifier.

The rules of ``toxicity`` find words; a classifier finds what is meant, as well as it was trained to. The trap: no model
ships with this; what one calls toxic is in its own card.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.data.curate.base import BatchStep, Drop, Item, Part
from tunesmith.data.curate.models import Classify
from tunesmith.data.curate.needs import model_digest
from tunesmith.errors import UserError


class ToxicityModel(BatchStep):
    """Drops rows of which a text classifier says one of the given labels."""

    NAME: ClassVar[str] = "toxicity-model"

    model: str
    """A run of the objective classify, or a transformers folder for sequence classification."""
    labels: Annotated[list[str], Field(min_length=1)] = ["toxic"]
    """Labels that drop a row."""
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Least probability of one of them."""
    of: Part = "row"
    """What is looked at: the whole `row`, its `prompt` or its `answer`."""

    def fingerprint(self) -> bytes:
        """The model's files."""
        return model_digest(self.model)

    def look_at(self, items: Sequence[Item]) -> Sequence[Drop | None]:
        """Dropped where a label is probable enough; the ledger shows how probable."""
        texts = {place: text for place, item in enumerate(items) if (text := item.of(self.of)).strip()}
        said = dict(zip(texts, self._classify(list(texts.values())), strict=True)) if texts else {}
        return [self._judged(said[place]) if place in said else None for place in range(len(items))]

    def _judged(self, said: dict[str, float]) -> Drop | None:
        unknown = [label for label in self.labels if label not in said]
        if unknown:
            raise UserError(
                f"the classifier {self.model} has no label {unknown[0]!r}", allowed=sorted(said), code="unknown-label"
            )
        label = max(self.labels, key=said.__getitem__)
        return Drop(f"a model says {label!r}", f"{said[label]:.2f}") if said[label] >= self.threshold else None

    @cached_property
    def _classify(self) -> Classify:
        return self.models.classifier(self.model)
