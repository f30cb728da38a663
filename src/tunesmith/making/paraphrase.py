"""Other words for the same: a model paraphrases the question or text of a row, or translates it there and back.

    paraphrase     x -> x'
    translation    x -> (language) -> x'                        (Sennrich et al. 2016, arXiv 1511.06709, section 3)

The answer or label stays. A new text is kept if it is not the old one over again, and not about something else, by
ROUGE-L F with the old text: ``least`` ≤ F ≤ ``most``.

The trap: word overlap knows no meaning. "I like it not" passes; read what was made before it is trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tunesmith.contracts.data import Message
from tunesmith.data.formats.base import BadRow
from tunesmith.making.author import Question, Written
from tunesmith.making.base import CUT, EMPTY, TOO_LONG, Count, Made, Maker, Making, Parent, Share, Work
from tunesmith.making.changing import changeable, changed
from tunesmith.making.rows import same_row
from tunesmith.making.similar import Words, rouge_l
from tunesmith.making.texts import SHIPPED, filled, read_templates

SAME = "the new text is the old one over again"
ELSE = "the new text shares too little with the old one"
NEEDED = {"paraphrase": ("text",), "translate": ("text", "language"), "back": ("text",)}


class Paraphrase(Maker):
    """Let the model put questions or texts in other words, or translate them there and back; answers stay."""

    NAME: ClassVar[str] = "paraphrase"
    paper: ClassVar[str] = "Sennrich et al. 2016, back-translation (arXiv 1511.06709)"
    makes_pairs: ClassVar[bool] = False
    needs_questions: ClassVar[bool] = False

    copies: Count = 1
    """New texts for each row."""
    language: str | None = None
    """Translate to this language and back, instead of asking for other words: `French`."""
    least: Share = 0.1
    """Least that a new text is like the old one (ROUGE-L)."""
    most: Share = 0.95
    """Most that a new text is like the old one, or another new one."""
    keep: bool = True
    """Whether the row itself is written as well, before what was made of it."""
    templates: str = SHIPPED
    """A YAML file with the requests."""

    def ready(self, work: Work) -> Making:
        """Rows without a text that may change are counted, not refused."""
        texts = read_templates(self.templates, "paraphrase.yaml", NEEDED)
        first = texts["paraphrase" if self.language is None else "translate"]

        def asked(text: str) -> str:
            return filled(first, text=text, language=self.language or "")

        def make(numbers: Sequence[int]) -> list[Made]:
            return self._made(numbers, work, texts, [asked(_text(work.parents[number])) for number in numbers])

        return Making(len(work.parents), make, lambda number: asked(_text(work.parents[number])))

    def _made(self, numbers: Sequence[int], work: Work, texts: dict[str, str], requests: Sequence[str]) -> list[Made]:
        parents = [work.parents[number] for number in numbers]
        able = [at for at, parent in enumerate(parents) if _text(parent)]
        questions = [self._question(requests[at], numbers[at], "there", parents[at], work) for at in able]
        written = dict(zip(able, self._write(questions, work), strict=True))
        if self.language is not None:
            written = self._back(written, numbers, parents, work, texts["back"])
        return [
            self._kept(parent, written[at]) if at in written else Made(dropped=["the row has no text that may change"])
            for at, parent in enumerate(parents)
        ]

    def _question(self, text: str, number: int, what: str, parent: Parent, work: Work) -> Question:
        raw = work.writer.encoder.joined(parent.record)
        return Question((Message("user", text),), self.seeds(what, number, self.copies), raw=raw)

    def _write(self, questions: Sequence[Question], work: Work) -> list[list[Written] | None]:
        if not questions:
            return []
        return work.writer.write(questions, sampling=self.sampling, max_new_tokens=self.max_new_tokens)

    def _back(
        self,
        written: dict[int, list[Written] | None],
        numbers: Sequence[int],
        parents: Sequence[Parent],
        work: Work,
        template: str,
    ) -> dict[int, list[Written] | None]:
        """Each whole translation, translated back; what was cut off or empty stays what it is."""
        places = [
            (at, copy)
            for at, found in written.items()
            for copy, one in enumerate(found or ())
            if one.whole and one.text.strip()
        ]
        questions = []
        for at, copy in places:
            text = filled(template, text=(written[at] or [])[copy].text, language=self.language or "")
            raw = work.writer.encoder.joined(parents[at].record)
            questions.append(Question((Message("user", text),), self.seeds(f"back {copy}", numbers[at]), raw=raw))
        found = {at: None if one is None else list(one) for at, one in written.items()}
        for (at, copy), answer in zip(places, self._write(questions, work), strict=True):
            held = found[at]
            assert held is not None
            held[copy] = Written("", 0, whole=True) if answer is None else answer[0]
        return found

    def _kept(self, parent: Parent, written: Sequence[Written] | None) -> Made:
        if written is None:
            return Made(dropped=[TOO_LONG])
        record, old = parent.record, Words.of(_text(parent))
        rows = [same_row(parent, record, {**parent.origin(self.NAME), "by": "itself"})] if self.keep else []
        kept: list[Words] = [old]
        dropped, likeness = [], []
        for one in written:
            new = Words.of(one.text)
            trouble = self._trouble(one, new, kept)
            if trouble:
                dropped.append(trouble)
                continue
            kept.append(new)
            likeness.append(rouge_l(old, new))
            made = {**parent.origin(self.NAME), "by": self.language or "paraphrase", "was": _text(parent)}
            rows.append(same_row(parent, changed(record, one.text), made))
        measured = {"likeness": sum(likeness) / len(likeness)} if likeness else {}
        return Made(rows, dropped=dropped, measured=measured)

    def _trouble(self, one: Written, new: Words, kept: Sequence[Words]) -> str:
        if not one.text.strip():
            return EMPTY
        if not one.whole:
            return CUT
        if max(rouge_l(new, other) for other in kept) > self.most:
            return SAME
        return ELSE if rouge_l(new, kept[0]) < self.least else ""


def _text(parent: Parent) -> str:
    """The text that may change; "" where none may."""
    try:
        return changeable(parent.record)
    except BadRow:
        return ""
