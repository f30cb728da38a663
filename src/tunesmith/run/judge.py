"""Measuring a session's model: held-out loss and answers on the task, and what it kept of what it knew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Prompt, Record
from tunesmith.errors import UserError
from tunesmith.evaluation.answers import AnswerReport, AnswerRow, evaluate_answers
from tunesmith.evaluation.comparison import Comparison, compare_answers, compare_labels, compare_loss, compare_terms
from tunesmith.evaluation.labels import Given, LabelReport
from tunesmith.evaluation.loss import LossReport, Sums, evaluate_loss
from tunesmith.evaluation.retention import own_text
from tunesmith.evaluation.task import Questions, evaluate_task
from tunesmith.evaluation.tasks import TasksReport, TasksSums
from tunesmith.evaluation.terms import Beside, TermReport, TermSums, evaluate_terms
from tunesmith.events import Event, Sink, silent
from tunesmith.generation.generator import Generator
from tunesmith.models.quantized.model import dequantized
from tunesmith.objectives.pretrain import Pretrain
from tunesmith.recipe import Recipe
from tunesmith.run.environment import dense_room
from tunesmith.run.rollouts import measure_rewards
from tunesmith.run.session import Session, retention_cache

Report = LossReport | LabelReport | TasksReport | TermReport
CACHE_BYTES = 1 << 30
"""Keys and values that answers may hold together: beyond that, more rows at once gain little."""
FEWEST_ROWS, MOST_ROWS = 32, 256
TEXT_FILES = (".txt", ".md", ".text")


@dataclass(frozen=True)
class Exam:
    """What is asked before and after, the same rows both times."""

    validation: Sequence[Example]
    prompts: Sequence[Prompt]
    retention: Sequence[Example]
    records: Mapping[int, Record] = field(default_factory=dict)
    """The rows behind ``validation``, where answers are texts that stand in them."""
    beside: Mapping[str, Beside] = field(default_factory=dict)
    """The frozen models that the objective names."""


@dataclass(frozen=True)
class Marks:
    """What came out of an exam; parts that were not asked are None."""

    task: Report | None
    answers: AnswerReport | None
    retention: LossReport | None

    def as_dict(self, sources: Sequence[str] = ()) -> dict[str, Any]:
        """``eval/before.json`` and ``eval/after.json``: ``{"task": {name: {value, low, high, n}}, "retention": …}``.

        ``sums`` and ``answers`` hold what every sequence and prompt gave, so that comparisons can be paired later;
        ``by_source`` the task's loss on each of ``sources`` (names by number), where its rows are of more than one.
        """
        task = {**(self.task.metrics() if self.task else {}), **(self.answers.metrics() if self.answers else {})}
        kept = self.retention.metrics() if self.retention else {}
        losses: dict[str, Report | None] = {"task": self.task, "retention": self.retention}
        return {
            "task": {name: estimate.as_dict() for name, estimate in task.items()},
            "retention": {name: estimate.as_dict() for name, estimate in kept.items()},
            "answers": [row.as_dict() for row in self.answers.rows] if self.answers else [],
            "sums": {name: report.sums.as_dict() for name, report in losses.items() if report},
            "by_source": self._by_source(sources),
        }

    def _by_source(self, sources: Sequence[str]) -> dict[str, Any]:
        found = self.task.by_source() if self.task and sources else {}
        if len(found) < 2:
            return {}
        return {
            name_of(number, sources): {metric: estimate.as_dict() for metric, estimate in report.metrics().items()}
            for number, report in found.items()
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Marks:
        """The inverse of :meth:`as_dict`; an empty dictionary gives marks of nothing."""
        sums = value.get("sums", {})
        rows = [AnswerRow(**row) for row in value.get("answers", ())]
        retention = LossReport.of(Sums.from_dict(sums["retention"])) if "retention" in sums else None
        return cls(_task(sums["task"]) if "task" in sums else None, AnswerReport.of(rows) if rows else None, retention)


def _task(sums: Mapping[str, Any]) -> Report:
    if "terms" in sums:
        return TermReport(TermSums.from_dict(sums))
    if "tasks" in sums:
        return TasksReport(TasksSums.from_dict(sums))
    return LabelReport(Given.from_dict(sums)) if "problem" in sums else LossReport.of(Sums.from_dict(sums))


def by_source(report: Report, sources: Sequence[str]) -> dict[str, float]:
    """``loss/<source>`` of each data source by its short name, where the rows are of more than one."""
    if len(sources) < 2:
        return {}
    found = {number: one.values().get("loss") for number, one in report.by_source().items()}
    names = short_names(sources)
    return {f"loss/{names[number]}": loss for number, loss in found.items() if loss is not None and len(found) > 1}


def short_names(sources: Sequence[str]) -> list[str]:
    """Names of data sources for people: the file's without its ending, numbered where they would be the same."""
    stems = [Path(source).stem for source in sources]
    often = Counter(stems)
    return [stem if often[stem] == 1 else f"{stem}-{number}" for number, stem in enumerate(stems, start=1)]


def same_kind(one: Report | None, other: Report | None) -> bool:
    """Whether two reports are about the same things, so that one can be set against the other."""
    return type(one) is type(other) and (one is None or other is None or one.metrics().keys() == other.metrics().keys())


def name_of(source: int, sources: Sequence[str]) -> str:
    """The name of a data source, with its number where others have the same name."""
    name = sources[source]
    return name if sources.count(name) == 1 else f"{name} (source {source + 1})"


def compared(before: Marks, after: Marks) -> list[Comparison]:
    """Every metric of ``after`` beside ``before``'s, its change paired by row where both answered the same rows."""
    found: list[Comparison] = []
    for what, first, second in (("task", before.task, after.task), ("retention", before.retention, after.retention)):
        if isinstance(second, LabelReport | TasksReport):
            found += compare_labels(what, first if isinstance(first, LabelReport | TasksReport) else None, second)
        elif isinstance(second, TermReport):
            same = isinstance(first, TermReport) and second.sums.same_sequences(first.sums)
            found += compare_terms(what, first if same and isinstance(first, TermReport) else None, second)
        elif second is not None:
            alike = isinstance(first, LossReport) and first.sums.same_sequences(second.sums)
            found += compare_loss(what, first if alike and isinstance(first, LossReport) else None, second)
    if after.answers is not None:
        asked = [row.prompt for row in after.answers.rows]
        same = before.answers is not None and [row.prompt for row in before.answers.rows] == asked
        found += compare_answers("answers", before.answers if same else None, after.answers)
    return found


def generator(session: Session, *, max_new_tokens: int | None = None) -> Generator:
    """The generation engine over a session's model, stopping where its chat template's answers end."""
    tokens = max_new_tokens or session.recipe.evaluate.max_new_tokens
    return Generator(
        session.policy,
        stop_ids=sorted(session.encoder.stop_ids()),
        max_new_tokens=tokens,
        batch=rows_at_once(session.model, session.recipe.data.max_tokens + tokens),
    )


def rows_at_once(model: Any, tokens: int) -> int:
    """How many answers of ``tokens`` (prompt included) are written together: as many as fit ``CACHE_BYTES``.

    Decided by the model's shape and never by free memory, so that the same question has the same answer everywhere.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    row = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize * tokens
    return int(max(FEWEST_ROWS, min(MOST_ROWS, CACHE_BYTES // row)))


def retention_examples(session: Session, *, emit: Sink = silent) -> list[Example]:
    """Text that shows what the base knows: its own, written before training, or the recipe's files."""
    recipe = session.recipe
    if recipe.retention == "none":
        return []
    if session.task is not None:
        emit(Event("note", 0, {"text": "the model has a task head and writes no text: what it forgot is not measured"}))
        return []
    if recipe.retention == "auto":
        emit(Event("phase", 0, {"text": "the base writes text of its own, to see later what it forgot"}))
        with session.attached.off():
            return own_text(
                session.policy,
                session.tokenizer,
                cache=retention_cache(),
                key=session.base_key,
                keep=recipe.model.start is None,
            )
    return from_files(session, recipe)


def retention_files(recipe: Recipe) -> list[Path]:
    """The recipe's retention files, checked to be readable text."""
    files = [Path(name).expanduser() for name in recipe.retention] if isinstance(recipe.retention, list) else []
    for file in files:
        if not file.is_file() or file.suffix.lower() not in TEXT_FILES:
            raise UserError(
                "a retention file is no text file",
                got=str(file),
                allowed=f"existing files ending in {', '.join(TEXT_FILES)}; auto; none",
                code="bad-retention",
            )
    return files


def from_files(session: Session, recipe: Recipe, *, limit: int = 200) -> list[Example]:
    """Plain text of the recipe's retention files, in pieces of at most 256 tokens."""
    import numpy as np

    examples: list[Example] = []
    for name in retention_files(recipe):
        text = name.read_text(encoding="utf-8")
        for encoding in session.encoder.text(text, max_tokens=256):
            ids, trained = np.array(encoding.ids, dtype=np.int32), np.array(encoding.trained, dtype=bool)
            examples.append(Example(ids, trained, len(examples)))
    return examples[:limit]


def measure(session: Session, exam: Exam) -> Report:
    """What the session's model makes of held-out examples, as its objective is judged."""
    tokens = int(session.recipe.train.tokens_per_microbatch)
    objective, examples = session.parts.objective, exam.validation
    if objective.judged == "tokens":
        return evaluate_loss(session.policy, objective, examples, tokens_per_microbatch=tokens)
    if objective.judged == "labels":
        questions = Questions(exam.records, session.encoder)
        return evaluate_task(session.policy, objective, examples, tokens_per_microbatch=tokens, questions=questions)
    if objective.judged == "rewards":
        return measure_rewards(session, examples, exam.records)
    return evaluate_terms(
        session.policy,
        objective,
        examples,
        beside=exam.beside,
        tokens_per_microbatch=tokens,
        batch_size=session.recipe.train.batch_size,
    )


def examine(session: Session, exam: Exam, *, emit: Sink = silent, words: str = "measuring") -> Marks:
    """Ask everything of ``exam``."""
    tokens = int(session.recipe.train.tokens_per_microbatch)
    task = answers = retention = None
    if exam.validation:
        emit(Event("phase", 0, {"text": f"{words}: loss on {len(exam.validation)} held-out rows"}))
        task = measure(session, exam)
    if exam.prompts:
        emit(Event("phase", 0, {"text": f"{words}: answers to {len(exam.prompts)} held-out prompts"}))
        with dequantized(session.model, room=dense_room(session.device)):
            answers = evaluate_answers(generator(session), exam.prompts, decode=session.encoder.decode)
    if exam.retention:
        emit(Event("phase", 0, {"text": f"{words}: what it knew before"}))
        retention = evaluate_loss(session.policy, Pretrain(), exam.retention, tokens_per_microbatch=tokens)
    return Marks(task, answers, retention)
