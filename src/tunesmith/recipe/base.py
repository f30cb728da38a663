"""The base class of everything a user configures."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tunesmith.recipe.problems import as_user_error


class Config(BaseModel):
    """Strict, frozen, documented: unknown keys are errors and the docstring under a field is its help text."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


class PartConfig(Config):
    """Base of the config of a pluggable part; ``NAME`` is its key in the part's table.

    A mistake in a call such as ``Lora(rnk=8)`` is a ``UserError``.
    """

    NAME: ClassVar[str]

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise as_user_error(error, type(self), type(self).__name__) from None

    # pydantic's mark of an ``__init__`` that validation may pass by: ``model_validate`` keeps its own errors
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def part_name(cls) -> str:
        """The name recipes use."""
        return cls.NAME
