"""Continued pretraining: predict every token of plain documents (Gururangan et al. 2020, "Don't stop pretraining").

Documents keep their boundaries: each is its own sequence and ends with the model's end-of-text token; longer ones are
split into pieces of ``data.max_tokens``.
"""

from __future__ import annotations

from typing import ClassVar

from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.data.candidates import imitated
from tunesmith.objectives.language import Language


class Pretrain(Language):
    """Predict every token of plain text."""

    NAME: ClassVar[str] = "pretrain"
    paper: ClassVar[str] = "Gururangan et al. 2020, Don't Stop Pretraining (arXiv 2004.10964)"

    max_piece: int | None = None
    """Split documents into pieces of this many tokens; by default `data.max_tokens`."""

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """Plain text in pieces; a conversation is rendered and learned whole."""
        if record.text is None:
            return encoder.conversation(imitated(record), "everything")
        return encoder.text(record.text, max_tokens=self.max_piece)
