"""A row step that changes texts one by one."""

from __future__ import annotations

from typing import ClassVar

from tunesmith.data.curate.base import Change, Drop, Item, RowStep
from tunesmith.data.curate.texts import Editor


class TextStep(RowStep):
    """Base of steps that mend or hide what stands in texts."""

    changes: ClassVar[bool] = True

    def mend(self, text: str) -> tuple[str, tuple[str, ...]]:
        """``text`` as it should be, and in a few words each what was done to it."""
        raise NotImplementedError

    def look(self, item: Item) -> Drop | Change | None:
        """Every text of the row, mended; a row of which no text changes is kept as it is."""
        editor = Editor(self.mend)
        value = editor.row(item.value, item.columns)
        return Change(value, tuple(editor.notes)) if editor.notes else None
