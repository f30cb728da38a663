"""Unicode and whitespace repair.

Mojibake (UTF-8 read as something else, ``cafÃ©``) is undone by ftfy, which changes a text only where its heuristics
say that the result is better. Invisible characters and control characters go; joiners that scripts and emoji need
(U+200C, U+200D) stay. Blanks: line ends become ``\\n``, odd blanks become blanks, blanks before a line end go, three
and more empty lines become two.

The trap: the two ends of a text are left as they are, because a prompt that ends in a blank is joined with its answer.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, ClassVar, Literal

from tunesmith.data.curate.editing import TextStep
from tunesmith.data.curate.needs import needed, version_of

_CONTROL = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f"
_INVISIBLE = re.compile(f"[{_CONTROL}\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_LINE_ENDS = re.compile("\r\n?|\x85|[\u2028\u2029]")
_ODD_BLANKS = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_BEFORE_END = re.compile(r"[ \t]+(?=\n)")
_EMPTY_LINES = re.compile(r"\n{4,}")


class Unicode(TextStep):
    """Mends text that was read in a wrong encoding, invisible characters, and odd blanks."""

    NAME: ClassVar[str] = "unicode"

    mojibake: bool = True
    """Undo text that was read in a wrong encoding (`cafÃ©`); needs the `curate` extra."""
    invisible: bool = True
    """Take out characters that show nothing: zero-width ones, soft hyphens, direction marks, control characters."""
    blanks: bool = True
    """Line ends as `\\n`, odd blanks as blanks, none before a line end, at most two empty lines together."""
    form: Literal["NFC", "NFKC", "none"] = "NFC"
    """Normal form of characters: `NFC` writes accents one way; `NFKC` also folds ligatures and full-width letters."""

    def ready(self) -> None:
        """Needs ftfy for mojibake."""
        if self.mojibake:
            needed("ftfy", "the step unicode")

    def fingerprint(self) -> bytes:
        """The version of ftfy."""
        return version_of("ftfy") if self.mojibake else b""

    def mend(self, text: str) -> tuple[str, tuple[str, ...]]:
        """``text`` mended."""
        notes = []
        for asked, note, change in (
            (self.mojibake, "wrong encoding undone", _without_mojibake),
            (self.invisible, "invisible characters taken out", _visible),
            (self.blanks, "blanks mended", _blanks),
            (self.form != "none", f"characters in {self.form}", self._formed),
        ):
            changed = change(text) if asked else text
            if changed != text:
                notes.append(note)
            text = changed
        return text, tuple(notes)

    def _formed(self, text: str) -> str:
        form: Any = self.form
        return text if text.isascii() else unicodedata.normalize(form, text)


def _without_mojibake(text: str) -> str:
    if text.isascii():
        return text
    import ftfy

    return str(ftfy.fix_encoding(text))


def _visible(text: str) -> str:
    return _INVISIBLE.sub("", text)


def _blanks(text: str) -> str:
    text = _ODD_BLANKS.sub(" ", _LINE_ENDS.sub("\n", text))
    return _EMPTY_LINES.sub("\n\n\n", _BEFORE_END.sub("", text))
