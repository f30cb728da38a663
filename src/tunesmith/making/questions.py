"""Questions about texts: the model reads a text (a chunk of a document), asks about it, and answers from it.

    text x -> question q_1, q_2 … unlike each other -> answer a_k ~ p(· | x, q_k) -> rows (x + q_k, a_k) or (q_k, a_k)

(Alberti et al. 2019, synthetic QA corpora, arXiv 1906.05416; without its round trip.) ``grounded`` asks that the words
of the answer stand in the text: the share of them that do is at least so much.

The trap: an answer from memory reads like one from the text. ``grounded`` finds those with other words only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.contracts.data import Message
from tunesmith.errors import UserError
from tunesmith.making.author import Question, Written
from tunesmith.making.base import CUT, EMPTY, TOO_LONG, Count, Made, Maker, Making, Parent, Share, Work
from tunesmith.making.similar import Pool, Words
from tunesmith.making.texts import SHIPPED, filled, read_templates

NO_TEXT = "the row is no text"
NO_QUESTION = "no question was written"
LIKE_ANOTHER = "the question is too like another"
NOT_GROUNDED = "the answer has too many words that are not in the text"
NEEDED = {"question": ("text",), "another": ("text", "asked"), "answer": ("text", "question")}


class Questions(Maker):
    """Let the model ask questions about texts and answer them from the text."""

    NAME: ClassVar[str] = "questions"
    paper: ClassVar[str] = "Alberti et al. 2019 (arXiv 1906.05416)"
    makes_pairs: ClassVar[bool] = False
    needs_questions: ClassVar[bool] = False

    count: Count = 1
    """Questions about each text."""
    with_text: bool = True
    """Whether the row shows the text before the question; without it the model learns what the text says by heart."""
    grounded: Share = 0.5
    """Least share of the answer's words that stand in the text."""
    alike: Share = 0.7
    """Most that a question may be like another about the same text (ROUGE-L)."""
    templates: str = SHIPPED
    """A YAML file with the requests."""

    def ready(self, work: Work) -> Making:
        """Every text in turn; its questions one after the other."""
        if not any(map(_text, work.parents)):
            raise UserError(
                "these rows are no documents, and questions are asked about texts",
                allowed="rows of the format text, or a txt file",
                hint="`tunesmith data build chunks` cuts long documents into pieces.",
                code="no-text",
            )
        texts = read_templates(self.templates, "questions.yaml", NEEDED)

        def make(numbers: Sequence[int]) -> list[Made]:
            return self._made(numbers, work, texts)

        def first(number: int) -> str:
            return _request(texts, _text(work.parents[number]), ())

        return Making(len(work.parents), make, first)

    def _made(self, numbers: Sequence[int], work: Work, texts: Mapping[str, str]) -> list[Made]:
        parents = {number: work.parents[number] for number in numbers}
        able = [number for number in numbers if _text(parents[number])]
        asked: dict[int, list[str]] = {number: [] for number in able}
        dropped: dict[int, list[str]] = {number: [] if number in asked else [NO_TEXT] for number in numbers}
        rows: dict[int, list[dict[str, Any]]] = {number: [] for number in numbers}
        for turn in range(self.count):
            requests = {number: _request(texts, _text(parents[number]), asked[number]) for number in able}
            questions = self._asked(requests, f"question {turn}", work)
            fine: dict[int, str] = {}
            for number, one in questions.items():
                trouble = self._question_trouble(one, asked[number])
                if trouble or one is None:
                    dropped[number].append(trouble)
                else:
                    fine[number] = one.text.strip().partition("\n")[0].strip()
                    asked[number].append(fine[number])
            requests = {
                number: filled(texts["answer"], text=_text(parents[number]), question=question)
                for number, question in fine.items()
            }
            for number, answer in self._asked(requests, f"answer {turn}", work).items():
                trouble = self._answer_trouble(answer, _text(parents[number]))
                if trouble or answer is None:
                    dropped[number].append(trouble)
                else:
                    rows[number].append(self._row(parents[number], fine[number], answer.text))
        return [Made(rows[number], dropped=dropped[number]) for number in numbers]

    def _asked(self, requests: Mapping[int, str], what: str, work: Work) -> dict[int, Written | None]:
        """What the model writes to each request."""
        if not requests:
            return {}
        questions = [Question((Message("user", text),), self.seeds(what, number)) for number, text in requests.items()]
        written = work.writer.write(questions, sampling=self.sampling, max_new_tokens=self.max_new_tokens)
        return {number: None if one is None else one[0] for number, one in zip(requests, written, strict=True)}

    def _question_trouble(self, one: Written | None, before: Sequence[str]) -> str:
        if one is None:
            return TOO_LONG
        text = one.text.strip().partition("\n")[0].strip()
        if not text:
            return NO_QUESTION
        if not one.whole and "\n" not in one.text.strip():
            return CUT
        return LIKE_ANOTHER if Pool(before).holds_like(text, self.alike) else ""

    def _answer_trouble(self, one: Written | None, text: str) -> str:
        if one is None:
            return TOO_LONG
        if not one.text.strip():
            return EMPTY
        if not one.whole:
            return CUT
        words, known = Words.of(one.text), Words.of(text).counts
        share = sum(word in known for word in words.order) / max(len(words.order), 1)
        return NOT_GROUNDED if share < self.grounded else ""

    def _row(self, parent: Parent, question: str, answer: str) -> dict[str, Any]:
        asked = f"{_text(parent)}\n\n{question}" if self.with_text else question
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        kept = {name: value for name, value in parent.record.meta.items() if name not in ("made", "messages")}
        return {"messages": turns, **kept, "made": {**parent.origin(self.NAME), "question": question}}


def _request(texts: Mapping[str, str], text: str, asked: Sequence[str]) -> str:
    if not asked:
        return filled(texts["question"], text=text)
    return filled(texts["another"], text=text, asked="\n".join(f"- {one}" for one in asked))


def _text(parent: Parent) -> str:
    """The text of a document; "" where the row is none."""
    record = parent.record
    return record.text or "" if record.labels is None and record.pair is None else ""
