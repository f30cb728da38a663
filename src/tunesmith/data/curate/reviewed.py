"""What a person said of rows (``tunesmith data review``), brought into curation and its ledger.

Rows are known by what they say, so the verdicts hold wherever the rows stand. The trap: a row that an earlier step
changed is another row; this step belongs before steps that mend texts.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from tunesmith.data.curate.base import Change, Drop, Item, RowStep
from tunesmith.data.curate.verdicts import Verdict, key_of, read_verdicts
from tunesmith.errors import UserError


class Reviewed(RowStep):
    """Drops the rows that a person wants dropped, and notes what was thought of others."""

    NAME: ClassVar[str] = "reviewed"

    file: str
    """The verdicts, as `tunesmith data review` writes them: `rows.review.jsonl`."""

    def ready(self) -> None:
        """The file can be read."""
        if not Path(self.file).expanduser().is_file():
            raise UserError(
                "no verdicts there", got=self.file, hint="`tunesmith data review` writes them.", code="no-verdicts"
            )
        assert self._verdicts is not None

    def fingerprint(self) -> bytes:
        """The verdicts."""
        return hashlib.sha256(Path(self.file).expanduser().read_bytes()).digest()

    def look(self, item: Item) -> Drop | Change | None:
        """By the last verdict on the row."""
        verdict = self._verdicts.get(key_of(item))
        if verdict is None:
            return None
        if verdict.verdict == "drop":
            return Drop("by hand", shown=verdict.note)
        return Change(item.value, (f"by hand: {verdict.note}",)) if verdict.note else None

    @cached_property
    def _verdicts(self) -> dict[str, Verdict]:
        return read_verdicts(Path(self.file).expanduser())
