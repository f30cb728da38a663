"""A session's model as suites ask it: rows to prompts, answers, losses, likelihoods and labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Message, Prompt, Record
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.formats.base import BadRow
from tunesmith.data.recognise import recognise
from tunesmith.errors import UserError
from tunesmith.evaluation.answers import AnswerReport, evaluate_answers
from tunesmith.evaluation.labels import LabelReport
from tunesmith.evaluation.likelihood import LikelihoodScorer, Pair, longest_scored, plain_ids, plain_pair
from tunesmith.evaluation.loss import evaluate_loss
from tunesmith.evaluation.suite_plan import Asking, Measures, Question, Way
from tunesmith.evaluation.tasks import TasksReport
from tunesmith.metrics.likelihood import Continuation, Likelihood
from tunesmith.metrics.perplexity import Losses
from tunesmith.models.prefixed import context
from tunesmith.objectives.sft import Sft
from tunesmith.run.drawn import drawn
from tunesmith.run.judge import Exam, generator
from tunesmith.run.judge import measure as measure_rows
from tunesmith.run.rows import encoded, raw_rows
from tunesmith.run.session import Session

ANSWERED = ("completion", "chosen", "rejected", "messages")
"""Columns that make a row with a `prompt` one of the data formats; without them it is a question of a suite."""
OTHER_TEMPLATES = ("plain", "chatml")
Rows = Sequence[Mapping[str, Any]]


@dataclass
class Asked:
    """A session's model; ``raw`` where it learned from prompts without a chat template and is asked so."""

    session: Session
    raw: bool = False
    _answered: dict[Any, AnswerReport] = field(default_factory=dict, repr=False)

    @property
    def measures(self) -> Measures:
        """What a suite needs of it."""
        labels = None if self.session.task is None else self._labels
        return Measures(
            read=read_rows,
            questions=self.questions,
            answers=self.answers,
            losses=self.losses,
            likelihoods=self.likelihoods,
            drawn=lambda which: drawn(self.session, which),
            labels=labels,
        )

    def questions(self, rows: Rows, column: str, way: Way) -> list[Question]:
        """Rows as questions: right answers are those of the row's ``column``, else its answer, else none."""
        if way.raw or (rows and "ids" in rows[0]):
            return [self._plain(number, row, column) for number, row in enumerate(rows, start=1)]
        raw, encoder = (False, self._other) if way.other else (self.raw, self.session.encoder)
        raw = raw if way.raw is None else way.raw
        records = records_of([_whole(row, raw=raw, answer="-") for row in rows])
        found = []
        for number, (row, record) in enumerate(zip(rows, records, strict=True), start=1):
            prompt = encoder.prompt(record)
            if prompt is None:
                raise _asks_nothing(number)
            answered = "prompt" not in row or "answer" in row or any(name in row for name in ANSWERED)
            found.append(Question(prompt, _several(row, column) or ([prompt.reference] if answered else [])))
        return found

    def answers(self, questions: Sequence[Question], asking: Asking) -> AnswerReport:
        """``asking.samples`` answers to each question; a raw text that is too long loses its beginning."""
        engine = generator(self.session, max_new_tokens=asking.max_new_tokens)
        engine.decode = self.session.encoder.decode
        prompts = [question.prompt for question in questions for _ in range(asking.samples)]
        key = (asking, tuple((tuple(prompt.ids), prompt.reference) for prompt in prompts))
        if key in self._answered:  # several metrics of the same answers
            return self._answered[key]
        limit = context(self.session.model)
        if asking.blanks and limit is not None:
            room = max(1, limit - engine.max_new_tokens)
            prompts = [replace(prompt, ids=prompt.ids[-room:]) for prompt in prompts]
        self._answered[key] = evaluate_answers(
            engine,
            prompts,
            decode=self.session.encoder.decode,
            sampling=asking.sampling,
            stop=asking.stop,
            blanks=asking.blanks,
        )
        return self._answered[key]

    def likelihoods(self, asked: Sequence[Continuation], way: Way) -> list[Likelihood]:
        """How likely continuations are: of raw text, or as an answer to a user who says the context."""
        chatty = not (self.raw if way.raw is None else way.raw) and self.session.encoder.template is not None
        if way.other:
            return self._scorer([self._said(one, self._other) for one in asked])
        if chatty:
            return self._scorer([self._said(one, self.session.encoder) for one in asked])
        return self._scorer([plain_pair(self.session.tokenizer, one) for one in asked])

    def losses(self, rows: Rows) -> Losses:
        """What the rows' own answers or texts cost, by row: pieces that a long text was cut into are summed."""
        records = records_of([_whole(row, raw=self.raw) for row in rows])
        examples = []
        size: defaultdict[int, float] = defaultdict(float)
        for number, record in enumerate(records):
            for ids, trained in self._targets(record):
                examples.append(Example(ids, trained, number))
                size[number] += len(self.session.encoder.decode(ids[trained].tolist()).encode())
        tokens = int(self.session.recipe.train.tokens_per_microbatch)
        sums = evaluate_loss(self.session.policy, Sft(), examples, tokens_per_microbatch=tokens).sums
        nll, counted = np.zeros(len(records)), np.zeros(len(records))
        np.add.at(nll, sums.rows, sums.nll)
        np.add.at(counted, sums.rows, sums.tokens)
        return Losses(nll, counted, np.array([size[number] for number in range(len(records))]))

    def _targets(self, record: Record) -> list[tuple[Any, Any]]:
        """Ids and targets of a record's answers or text."""
        encoder, longest = self.session.encoder, self.session.recipe.data.max_tokens
        said = record.text
        found = encoder.conversation(record, "answers") if said is None else encoder.text(said, max_tokens=longest)
        pairs = []
        for encoding in found:
            ids, trained = np.array(encoding.ids, dtype=np.int32), np.array(encoding.trained, dtype=bool)
            trained[:1] = False  # nothing comes before the first token to predict it from
            pairs.append((ids, trained))
        return pairs

    def _labels(self, rows: Rows) -> LabelReport | TasksReport:
        """Labelled rows through the session's own objective; rows it cannot read are a ``UserError``."""
        records = records_of(rows)
        trouble = "row {number} of the suite cannot be measured: {why}"
        examples = encoded(self.session, records, trouble=trouble, code="bad-suite-row")
        report = measure_rows(self.session, Exam(examples, [], [], dict(enumerate(records))))
        assert isinstance(report, LabelReport | TasksReport)
        return report

    def _plain(self, number: int, row: Mapping[str, Any], column: str) -> Question:
        """A row's prompt as the text (or the ids) that it is."""
        if not isinstance(row.get("prompt"), str):
            raise _asks_nothing(number)
        ids = row.get("ids") or plain_ids(self.session.tokenizer, row["prompt"])
        answer = row.get("answer")
        prompt = Prompt(ids, "" if answer is None else str(answer), row["prompt"], row)
        return Question(prompt, _several(row, column) or ([] if answer is None else [str(answer)]))

    def _said(self, one: Continuation, encoder: ChatEncoder) -> Pair:
        """A continuation as an answer in a chat."""
        ids = encoder.prompt_ids([Message("user", one.context)])
        _, answer = encoder.tokens.pieces([encoder.render_prompt([Message("user", one.context)]), one.text])
        return Pair(tuple(ids), tuple(answer))

    @cached_property
    def _scorer(self) -> LikelihoodScorer:
        tokens = int(self.session.recipe.train.tokens_per_microbatch)
        return LikelihoodScorer(self.session.policy, tokens, longest_scored(self.session.model))

    @cached_property
    def _other(self) -> ChatEncoder:
        """The encoder with another template than the model was trained with."""
        usual = self.session.encoder
        name = next(name for name in OTHER_TEMPLATES if name != usual.template_name)
        return ChatEncoder.build(self.session.tokenizer, name, system=usual.system)


def records_of(rows: Rows) -> list[Record]:
    """Rows in any known format as records; a row that cannot be read is a ``UserError`` naming it."""
    form = recognise([dict(row) for row in rows[:20]], path="the suite", columns={}).format
    records = []
    for number, row in enumerate(rows, start=1):
        try:
            records.append(form.read(dict(row)))
        except BadRow as bad:
            raise UserError(f"row {number} of the suite cannot be read: {bad}", code="bad-suite-row") from bad
    return records


def read_rows(path: Path) -> Rows:
    """The rows of a file as they are."""
    return raw_rows(str(path), code="bad-suite-row")


def _several(row: Mapping[str, Any], column: str) -> list[str]:
    given = row.get(column)
    return [str(one) for one in given] if isinstance(given, list) else []


def _asks_nothing(number: int) -> UserError:
    return UserError(
        f"row {number} of the suite asks nothing, so that no answer can be generated",
        allowed="rows with a question, such as {prompt, answer}, or the metrics perplexity and bits_per_byte",
        code="bad-suite-row",
    )


def _whole(row: Mapping[str, Any], *, raw: bool, answer: str | None = None) -> Mapping[str, Any]:
    """A suite's row as a row of a data format: ``{prompt, answer}`` becomes a conversation, or raw text."""
    if not isinstance(row.get("prompt"), str) or any(name in row for name in ANSWERED):
        return row
    rest = {key: value for key, value in row.items() if key not in ("prompt", "answer", "system")}
    said = row.get("answer", answer)
    if raw:
        return {"prompt": row["prompt"], "completion": said, **rest}
    turns = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    turns += [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": said}]
    return {"messages": turns, **rest}
