"""Length rules in characters and words. How many tokens a row may have is ``data.max_tokens``, counted exactly."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from tunesmith.data.curate.base import Drop, Item, Part, RowStep
from tunesmith.data.curate.texts import words

Count = Annotated[int, Field(ge=0)]


class Length(RowStep):
    """Drops rows that are too short or too long."""

    NAME: ClassVar[str] = "length"

    of: Part = "row"
    """What is measured: the whole `row`, its `prompt` or its `answer`."""
    min_words: Count = 1
    """Fewest words; where words are not spaced (Chinese, Japanese) every character is one."""
    max_words: Count | None = None
    """Most words."""
    min_characters: Count = 0
    """Fewest characters."""
    max_characters: Count | None = None
    """Most characters."""

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        for least, most in ((self.min_words, self.max_words), (self.min_characters, self.max_characters)):
            if most is not None and most < least:
                raise ValueError(f"the most ({most}) is less than the fewest ({least})")
        return self

    def look(self, item: Item) -> Drop | None:
        """Dropped where a bound is passed."""
        text = item.of(self.of)
        size = len(text)
        if size < self.min_characters:
            return Drop(f"the {self.of} has fewer than {self.min_characters:,} characters")
        if self.max_characters is not None and size > self.max_characters:
            return Drop(f"the {self.of} has more than {self.max_characters:,} characters")
        count = len(words(text)) if self.min_words or self.max_words is not None else 0
        if count < self.min_words:
            return Drop(f"the {self.of} has fewer than {self.min_words:,} words")
        if self.max_words is not None and count > self.max_words:
            return Drop(f"the {self.of} has more than {self.max_words:,} words")
        return None
