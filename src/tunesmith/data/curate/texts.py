"""Texts: which columns of a row hold them, how they are changed in place, and their words.

The trap: formats that say where an answer stands by characters (``squad``) or word by word (``tagged``) are wrong as
soon as a text is changed, so steps that change texts refuse them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith.data.formats.base import Format

PLACED = frozenset({"squad", "tagged", "spans"})
_RATINGS = {"label", "labels", "tags", "score", "scores", "ranks", "margin"}
_PLACES = {"spans", "path", "language", "images"}
_NO_TEXT = frozenset({*_RATINGS, *_PLACES, "tools"})
_IMAGES = {"image", "image_url", "url"}
_NAMES = frozenset({"role", "from", "name", "type", "id", "tool_call_id", "tool_calls", "function_call", *_IMAGES})
"""Keys inside of a message whose values are no text."""

_UNSPACED = "\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:['’][^\W_{_UNSPACED}]+)*")
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")


def text_columns(form: Format, renamed: Mapping[str, str]) -> frozenset[str]:
    """The columns that hold text, by the names they have in the file."""
    return frozenset(renamed.get(column, column) for column in form.columns if column not in _NO_TEXT)


def words(text: str) -> list[str]:
    """Words in lower case and NFKC form; where they are not spaced (Chinese, Japanese) every character is one."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower().replace("’", "'"))


@dataclass
class Editor:
    """Changes texts one after the other and gathers what was done: ``change(text)`` gives the text and its notes."""

    change: Callable[[str], tuple[str, tuple[str, ...]]]
    notes: dict[str, None] = field(default_factory=dict)

    def row(self, value: Mapping[str, Any], columns: frozenset[str]) -> dict[str, Any]:
        """``value`` with the texts in ``columns`` changed, however deep they stand."""
        return {key: self._inside(one) if key in columns else one for key, one in value.items()}

    def _inside(self, value: Any) -> Any:
        if isinstance(value, str):
            text, notes = self.change(value)
            self.notes.update(dict.fromkeys(notes))
            return text
        if isinstance(value, list):
            return [self._inside(one) for one in value]
        if isinstance(value, Mapping):
            return {key: one if key in _NAMES else self._inside(one) for key, one in value.items()}
        return value
