"""Rows measured by how a language model reads them: the base of perplexity and difficulty."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated

from pydantic import Field

from tunesmith.data.curate.base import Item
from tunesmith.data.curate.measured import MeasuredStep
from tunesmith.data.curate.models import Read, Surprise
from tunesmith.data.curate.needs import model_digest


class SurpriseStep(MeasuredStep):
    """Base of steps that ask how surprising a row is to a reference model."""

    model: str
    """The reference model: a run, a model folder, a hub id, or `embedded`."""
    max_tokens: Annotated[int, Field(ge=16)] = 512
    """Longer rows are cut from their beginning."""

    def fingerprint(self) -> bytes:
        """The model's files."""
        return model_digest(self.model)

    @cached_property
    def _read(self) -> Read:
        return self.models.language(self.model, self.max_tokens)

    def measure(self, items: Sequence[Item]) -> Sequence[float | None]:
        """By what the model says."""
        read = self._read([item.record for item in items])
        return [None if one is None or not one.tokens else self.value(one) for one in read]

    def value(self, one: Surprise) -> float | None:
        """The number of one row."""
        raise NotImplementedError
