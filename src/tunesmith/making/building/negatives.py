"""Negative samples: answers that are wrong, for preference pairs and for contrastive learning.

    swapped        the answer (or text) of another row, at random
    near           the one of the row whose question is most alike: the near miss that is hard to tell
    wrong-label    another label; of rows whose answers are labels
    altered        the row's own answer with one number or name changed: the near miss that only reading tells

Conversations become pairs, texts that belong together get ``negatives``, labelled texts become text and label with
wrong labels as negatives. (Hard negatives: Karpukhin et al. 2020, DPR, arXiv 2004.04906, section 3.2.)

The trap: another row's answer may be right as well ("Yes."). Answers that are the same but for case, blanks and signs
are never negatives, and questions that are the same are never taken from; what else is right nobody knows here.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from tunesmith.data.curate.texts import words
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError
from tunesmith.making.base import Count, Made, Parent
from tunesmith.making.building.base import RowBuilder, answered, kin, question_text
from tunesmith.making.building.nearest import Nearest
from tunesmith.making.rows import pair_row, same_row

TRIES = 30
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])")
_NAME = re.compile(r"(?<=[\w,;:] )[A-Z][a-z]+(?:[- ][A-Z][a-z]+)*(?!\w)")
NONE_FOUND = "no wrong answer is found for it"


@dataclass(frozen=True)
class Ready:
    """Of every row its right answer ("" where it has none), what it is kin to, its place; and how to find others."""

    answers: Sequence[str]
    folded: Sequence[str]
    kin: Sequence[frozenset[int]]
    places: Sequence[str]
    labels: Sequence[str]
    nearest: Nearest | None
    names: Sequence[str]


class Negatives(RowBuilder):
    """Make wrong answers beside right ones: pairs of conversations, negatives of texts that belong together."""

    NAME: ClassVar[str] = "negatives"
    paper: ClassVar[str] = "Karpukhin et al. 2020, DPR (arXiv 2004.04906)"

    how: Literal["swapped", "near", "wrong-label", "altered"] = "swapped"
    """Where a wrong answer comes from: another row (`swapped`), the most similar one (`near`), another label
    (`wrong-label`), or the answer itself with a number or name changed (`altered`)."""
    count: Count = 1
    """Wrong answers for each row."""

    def prepared(self, parents: Sequence[Parent]) -> Ready:
        """The answers of all rows; ``UserError`` (``no-labels``) where labels are to be wrong and there are none."""
        answers = [_answer(parent) for parent in parents]
        labels = Counter(answer for answer in answers if answer)
        if self.how == "wrong-label" and not 2 <= len(labels) <= max(2, sum(labels.values()) // 2):
            raise UserError(
                "the answers of these rows are no labels",
                got=f"{len(labels):,} different answers in {sum(labels.values()):,} rows",
                allowed="a few answers that repeat",
                hint="`--how swapped` and `--how near` take answers of other rows.",
                code="no-labels",
            )
        nearest = Nearest([question_text(parent.record) for parent in parents]) if self.how == "near" else None
        names = sorted({name for answer in answers for name in _NAME.findall(answer)}) if self.how == "altered" else []
        folded = [" ".join(words(answer)) for answer in answers]
        related, places = [kin(one) for one in parents], [one.place for one in parents]
        return Ready(answers, folded, related, places, sorted(labels), nearest, names)

    def build(self, parent: Parent, number: int, prepared: Ready) -> Made:
        """The row with its wrong answers."""
        right = prepared.answers[number]
        if not right:
            raise BadRow("the row has no answer, label or text that belongs to it")
        found: dict[str, dict[str, Any]] = {}
        seen = {prepared.folded[number]}
        for wrong, told in self._wrong(number, right, prepared):
            folded = " ".join(words(wrong))
            if wrong.strip() != right.strip() and folded not in seen:
                seen.add(folded)
                found[wrong] = told
            if len(found) == self.count:
                break
        if not found:
            raise BadRow(NONE_FOUND)
        return Made(self._rows(parent, right, found))

    def _rows(self, parent: Parent, right: str, found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        made = {**parent.origin(self.NAME), "by": self.how}
        record = parent.record
        if record.messages is not None:
            return [pair_row(record, right, wrong, made | told) for wrong, told in found.items()]
        whole = made | {"negatives": [told for told in found.values() if told]}
        if record.pair is not None:
            return [same_row(parent, replace(record, others=(*record.others, *found)), whole)]
        meta = {name: value for name, value in record.meta.items() if name not in ("made", "anchor", "positive")}
        return [{"anchor": record.text, "positive": right, "negatives": list(found), **meta, "made": whole}]

    def _wrong(self, number: int, right: str, ready: Ready) -> Iterator[tuple[str, dict[str, Any]]]:
        """Wrong answers and where they come from, the best first."""
        drawn = self.random(number)
        if self.how == "altered":
            yield from _altered(right, ready.names, drawn)
        elif self.how == "wrong-label":
            for label in drawn.sample(ready.labels, len(ready.labels)):
                yield label, {}
        else:
            near = ready.nearest
            others = near.to(number, TRIES + self.count) if near else _some(drawn, len(ready.answers), self.count)
            for other in others:
                if ready.answers[other] and not ready.kin[other] & ready.kin[number]:
                    yield ready.answers[other], {"of": ready.places[other]}


def _answer(parent: Parent) -> str:
    """What is right for a row: its answer, what belongs to its text, or its label."""
    record = parent.record
    if record.messages is not None:
        try:
            _, answer = answered(parent)
        except BadRow:
            return ""
        return "" if answer.extra or record.candidates else answer.content
    if record.spans:
        return ""
    if record.pair is not None:
        return record.pair if record.labels is None else ""
    return record.labels[0] if record.labels is not None and len(record.labels) == 1 else ""


def _some(drawn: random.Random, rows: int, count: int) -> list[int]:
    return drawn.sample(range(rows), min(rows, TRIES * count))


def _altered(right: str, names: Sequence[str], drawn: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """The answer with one number or one name changed."""
    numbers, named = list(_NUMBER.finditer(right)), list(_NAME.finditer(right))
    for _ in range(TRIES):
        if numbers:
            place = drawn.choice(numbers)
            new = _other_number(place[0], drawn)
        elif named and len(names) > 1:
            place, new = drawn.choice(named), drawn.choice(names)
        else:
            return
        yield right[: place.start()] + new + right[place.end() :], {"changed": [place[0], new]}


def _other_number(text: str, drawn: random.Random) -> str:
    """A number near ``text``, written the same way."""
    whole, dot, after = text.partition(".")
    if dot:
        step = drawn.choice([-2, -1, 1, 2])
        return f"{abs(int(whole + after) + step) / 10 ** len(after):.{len(after)}f}"
    value = int(whole)
    steps = [-10, -2, -1, 1, 2, 10] if value > 10 else [-1, 1, 2, 3]
    return str(abs(value + drawn.choice(steps)))
