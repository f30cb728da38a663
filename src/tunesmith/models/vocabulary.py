"""Whether two models speak of the same tokens: distributions over different ones cannot be compared."""

from __future__ import annotations

from typing import Any

from tunesmith.errors import UserError


def check_same_vocabulary(student: Any, teacher: Any, *, name: str) -> None:
    """Raise a ``UserError`` (``teacher-vocabulary``) unless both tokenizers have the same tokens at the same numbers.

    ``name`` is the teacher's, for the sentence. Sizes of embeddings may differ: some are padded to a round number.
    """
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    if ours == theirs:
        return
    different = [token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)]
    raise UserError(
        f"the teacher {name} has another vocabulary than the student",
        got=f"{len(ours):,} tokens here, {len(theirs):,} there, {len(different):,} that differ (such as "
        f"'{min(different)}')",
        allowed="a teacher with the student's own tokenizer",
        hint="Texts have no vocabulary: let the teacher answer the prompts, and train on its answers with the "
        "objective sft.",
        code="teacher-vocabulary",
    )
