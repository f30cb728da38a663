"""The token at which generation stops is learned: a model that never sees it as a target never stops talking.

It is looked for by its place (the first stop token after the prompt), never by its id: it may well be the padding
token, and masking padding by id is how other tools lose it.
"""

from __future__ import annotations

from tunesmith.proof.base import Case, Measured, Proof
from tunesmith.proof.conversations import Answer, answers, has_conversations


def measure(case: Case) -> Measured:
    """How many answers do not end in a trained stop token."""
    stops = case.encoder.stop_ids()
    return Measured.none_wrong([wrong for answer in answers(case) if (wrong := _wrong(answer, stops))])


def _wrong(answer: Answer, stops: set[int]) -> str:
    if answer.home is None:
        return f"{answer.where} is not rendered as it will be generated"
    encoding, begin = answer.home
    end = next((at for at in range(begin, len(encoding.ids)) if encoding.ids[at] in stops), None)
    if end is None:
        return f"{answer.where} ends without a token that would stop generation"
    return "" if encoding.trained[end] else f"{answer.where}: its end of turn (token {end}) is not trained"


PROOF = Proof(
    means="every answer's end of turn is trained, so the model learns to stop",
    mend="Use a chat template that closes answers with a special token (data.template)",
    measure=measure,
    applies=has_conversations,
    passes=0,
    of_rows=True,
)
