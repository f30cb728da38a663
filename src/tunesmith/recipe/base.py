"""The base class of everything a user configures."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Strict, frozen, documented: unknown keys are errors and the docstring under a field is its help text."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


class PartConfig(Config):
    """Base of the config of a pluggable part; ``NAME`` is its key in the part's table."""

    NAME: ClassVar[str]

    @classmethod
    def part_name(cls) -> str:
        """The name recipes use."""
        return cls.NAME
