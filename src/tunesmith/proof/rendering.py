"""What is trained is what will be generated: the prompt of every answer, rendered and tokenised as generation does it,
is an exact prefix of the training ids, and the very next id is the first one trained.

The trap it catches: a blank or a newline that one rendering has and the other has not moves every token after it.
"""

from __future__ import annotations

from itertools import takewhile

from tunesmith.proof.base import Case, Measured, Proof
from tunesmith.proof.conversations import Answer, answers, has_conversations


def measure(case: Case) -> Measured:
    """How many answers are trained after other tokens than they will be generated from."""
    return Measured.none_wrong([wrong for answer in answers(case) if (wrong := _wrong(answer))])


def _wrong(answer: Answer) -> str:
    if answer.home is None:
        pairs = [zip(answer.prompt, encoding.ids, strict=False) for encoding in answer.encodings]
        same = max((sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both)) for both in pairs), default=0)
        return f"{answer.where}: training and inference part at token {same} of {len(answer.prompt)} of the prompt"
    encoding, begin = answer.home
    if not encoding.trained[begin]:
        return f"{answer.where}: the first token to be generated (token {begin}) is not trained"
    return ""


PROOF = Proof(
    means="every answer is trained after exactly the tokens it will be generated from",
    mend="Choose another data.template, or mend the model's chat template",
    measure=measure,
    applies=has_conversations,
    passes=0,
    of_rows=True,
)
