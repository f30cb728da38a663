"""Supervised fine-tuning: imitate the answers of a conversation (Ouyang et al. 2022, section 3.5).

Prompts are read, answers are learned: by default only the assistant's tokens and their end-of-turn carry loss. Of rows
with rated answers the best one is imitated.
"""

from __future__ import annotations

from typing import ClassVar

from tunesmith.contracts.data import Encoder, Encoding, Record, TrainOn
from tunesmith.data.candidates import imitated
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError
from tunesmith.objectives.language import Language


class Sft(Language):
    """Imitate the answers in conversations or prompt/completion rows."""

    NAME: ClassVar[str] = "sft"
    paper: ClassVar[str] = "Ouyang et al. 2022, Training language models to follow instructions (arXiv 2203.02155)"

    train_on: TrainOn = "answers"
    """Which tokens are learned: every answer, the last answer only, or everything."""
    response_marker: str | None = None
    """For plain-text rows: what follows the last occurrence of this text is the answer (such as `### Response:`)."""

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """Tokens with answers as targets; plain text needs a marker or ``train_on: everything``."""
        if record.text is None:
            return encoder.conversation(imitated(record), self.train_on)
        if self.train_on == "everything":
            return encoder.text(record.text, max_tokens=None)
        if self.response_marker is None:
            raise UserError(
                "plain-text rows do not say which part is the answer",
                allowed="objective.response_marker: '### Response:' (or your own), objective.train_on: everything, "
                "or the objective pretrain",
                hint=None if record.labels is None else "The rows have labels: the objective classify learns those.",
                code="no-response-marker",
            )
        encoding = encoder.marked(record.text, self.response_marker)
        if encoding is None:
            raise BadRow(f"the text has no '{self.response_marker}'")
        return [encoding]
