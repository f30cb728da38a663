"""Personal data by a model of your own: a tagger of names, places, whatever its labels are.

The rules of ``pii`` find what has a form; names and addresses have none. The trap: no model ships with this, it reads
only the first 256 tokens of a text or as many as its folder names, and what it misses stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Literal

from tunesmith.data.curate.base import BatchStep, Change, Drop, Item
from tunesmith.data.curate.models import Span, Tag
from tunesmith.data.curate.needs import model_digest
from tunesmith.data.curate.texts import Editor


class PiiModel(BatchStep):
    """Hides or drops what a tagger of words finds: names, places, whatever its labels are."""

    NAME: ClassVar[str] = "pii-model"
    changes: ClassVar[bool] = True

    model: str
    """A transformers folder for token classification (`B-PER`, `I-PER`, `O`)."""
    kinds: list[str] = []
    """Kinds that count, such as `PER`; by default all that it finds."""
    action: Literal["redact", "drop"] = "redact"
    """`redact` writes the kind in place of what was found, `drop` drops the row."""
    mark: str = "[{kind}]"
    """What is written in place, such as `[PER]`."""

    def fingerprint(self) -> bytes:
        """The model's files."""
        return model_digest(self.model)

    def look_at(self, items: Sequence[Item]) -> Sequence[Drop | Change | None]:
        """Every text of the rows is tagged at once; a row in which nothing is found is kept as it is."""
        seen: dict[str, None] = {}

        def kept(text: str) -> tuple[str, tuple[str, ...]]:
            seen[text] = None
            return text, ()

        for item in items:
            Editor(kept).row(item.value, item.columns)
        asked = [text for text in seen if text.strip()]
        found = dict(zip(asked, self._tag(asked), strict=True)) if asked else {}
        return [self._judged(item, found) for item in items]

    def _judged(self, item: Item, found: dict[str, list[Span]]) -> Drop | Change | None:
        editor = Editor(lambda text: self._hidden(text, found.get(text, ())))
        value = editor.row(item.value, item.columns)
        if not editor.notes:
            return None
        if self.action == "drop":
            return Drop(next(iter(editor.notes)).replace(" hidden", " in it"))
        return Change(value, tuple(editor.notes))

    def _hidden(self, text: str, spans: Sequence[Span]) -> tuple[str, tuple[str, ...]]:
        chosen = [span for span in spans if not self.kinds or span.kind in self.kinds]
        for span in sorted(chosen, key=lambda one: -one.start):
            text = text[: span.start] + self.mark.replace("{kind}", span.kind) + text[span.end :]
        return text, tuple(dict.fromkeys(f"{span.kind} hidden" for span in chosen))

    @cached_property
    def _tag(self) -> Tag:
        return self.models.tagger(self.model)
