"""``tunesmith eval``: a suite of tasks on a run or a base model."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Record
from tunesmith.data.formats.base import BadRow
from tunesmith.data.recognise import recognise
from tunesmith.errors import UserError
from tunesmith.evaluation.answers import AnswerReport, evaluate_answers
from tunesmith.evaluation.labels import LabelReport
from tunesmith.evaluation.loss import evaluate_loss
from tunesmith.evaluation.suite import Suite, Task, load_suite
from tunesmith.evaluation.suite_run import Asking, Measures, Question, plan_suite, run_suite
from tunesmith.evaluation.tasks import TasksReport
from tunesmith.metrics.perplexity import Losses
from tunesmith.objectives.sft import Sft
from tunesmith.run.beside import beside_of
from tunesmith.run.folder import Run, never_began
from tunesmith.run.judge import Exam, examine, generator
from tunesmith.run.judge import measure as measure_rows
from tunesmith.run.rows import encoded, generated_rows, prepare_with, prompts_of, raw_rows
from tunesmith.run.session import Session
from tunesmith.run.use import asked_raw, open_any, open_run

EMBEDDED_SUITE = "embedded"
EMBEDDED_ROWS = 280
EMBEDDED_SEED = 7
ANSWERED = ("completion", "chosen", "rejected", "messages")
"""Columns that make a row with a `prompt` one of the data formats; without them it is a question of a suite."""
Rows = Sequence[Mapping[str, Any]]


def evaluate(
    run_or_model: Run | str | Path, *, suite: str | Path | None = None, tags: Sequence[str] = ()
) -> dict[str, Any]:
    """Metrics of a run or a base model on a suite file (``embedded``: the held-out tasks of Seedling's world).

    Returns ``{model, suite, metrics: {task: {value, low, high, n}}, checks, notes, passed, failed, answers: {task:
    rows}}``, of the tasks and checks with one of ``tags`` where those are given. Without ``suite`` a run is measured on
    its own held-out rows, as at its end, and ``suite`` is None.
    """
    name = run_or_model.folder if isinstance(run_or_model, Run) else run_or_model
    if suite is None:
        return {"model": str(name), **held_out(name)}
    tasks = tasks_of(suite).tagged(tags)
    return {"model": str(name), **measure(open_any(name), tasks, raw=asked_raw(Path(name)))}


def held_out(run: str | Path) -> dict[str, Any]:
    """What the result of ``run`` makes of the rows it held out: the metrics of its ``eval/after.json``."""
    if not (Path(run) / "recipe.yaml").is_file() and not never_began(Path(run)):
        raise UserError(
            f"{run} is no run, so it has no held-out rows to be measured on",
            hint=f"Name a suite: --suite FILE, or --suite {EMBEDDED_SUITE} for the shipped one.",
            code="missing-suite",
        )
    session = open_run(run)
    if session.parts.objective.beside and session.attached.artifact == "model":
        return _as_measured(Run.open(run).last_stage)  # what it is compared with, the model before, is gone
    prepared = prepare_with(session.recipe, session.encoder)
    validation = list(prepared.validation)
    prompts = prompts_of(session, prepared)
    if not validation:
        raise UserError(f"{run} held no rows out", hint="Name a suite with --suite.", code="missing-suite")
    spans = session.task is not None and session.task.problem == "span"
    records = prepared.records({example.row for example in validation}) if spans else {}
    return _result(examine(session, Exam(validation, prompts, [], records, beside_of(session, []))).as_dict())


def _as_measured(run: Run) -> dict[str, Any]:
    """The same as it was measured at the run's end."""
    marks = run.read("eval/after.json")
    if not marks:
        raise UserError(f"{run.folder} is not finished", hint="Go on with --resume.", code="run-not-finished")
    return _result(marks)


def _result(marks: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "suite": None,
        "metrics": marks["task"],
        "passed": True,
        "failed": [],
        "answers": {"held-out": marks["answers"]} if marks["answers"] else {},
    }


def tasks_of(suite: str | Path) -> Suite:
    """A suite file, or the embedded one by its name; a ``UserError`` where it cannot be read."""
    return embedded_suite() if str(suite) == EMBEDDED_SUITE else load_suite(Path(suite))


def measure(session: Session, tasks: Suite, *, raw: bool = False) -> dict[str, Any]:
    """``{suite, metrics, checks, notes, passed, failed, answers}`` of a session's model.

    ``raw``: it learned from prompts without a chat template, and questions are asked so.
    """
    result = run_suite(tasks, _measures(session, raw=raw))
    answers = {one.task.name: [row.as_dict() for row in one.answers] for one in result.results if one.answers}
    return {**result.as_dict(), "answers": answers}


def check_suites(session: Session, *, raw: bool = False) -> None:
    """Hold the recipe's suites against their rows and the model: what cannot be measured is told before training."""
    for name in session.recipe.evaluate.suites:
        plan_suite(tasks_of(name), _measures(session, raw=raw))


def embedded_suite() -> Suite:
    """Seedling's held-out instruction rows, one task a kind."""
    path = generated_rows(EMBEDDED_SEED, split="held-out", rows=EMBEDDED_ROWS)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        kinds.setdefault(row["task"], []).append(row)
    return Suite(name=EMBEDDED_SUITE, tasks=[Task(name=kind, rows=rows) for kind, rows in sorted(kinds.items())])


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


def _rows(path: Path) -> Rows:
    return raw_rows(str(path), code="bad-suite-row")


def _measures(session: Session, *, raw: bool) -> Measures:
    return Measures(
        read=_rows,
        questions=lambda rows, column: _questions(session, rows, column, raw=raw),
        answers=lambda questions, asking: _answers(session, questions, asking),
        losses=lambda rows: _losses(session, records_of([_whole(row, raw=raw) for row in rows])),
        labels=None if session.task is None else lambda rows: _labels(session, records_of(rows)),
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


def _questions(session: Session, rows: Rows, column: str, *, raw: bool) -> list[Question]:
    """Rows as questions: right answers are those of the row's ``column``, else its answer, else none."""
    records = records_of([_whole(row, raw=raw, answer="-") for row in rows])
    found = []
    for number, (row, record) in enumerate(zip(rows, records, strict=True), start=1):
        prompt = session.encoder.prompt(record)
        if prompt is None:
            raise UserError(
                f"row {number} of the suite asks nothing, so that no answer can be generated",
                allowed="rows with a question, such as {prompt, answer}, or the metrics perplexity and bits_per_byte",
                code="bad-suite-row",
            )
        given = row.get(column)
        several = [str(one) for one in given] if isinstance(given, list) else []
        answered = "prompt" not in row or "answer" in row or any(name in row for name in ANSWERED)
        found.append(Question(prompt, several or ([prompt.reference] if answered else [])))
    return found


def _answers(session: Session, questions: Sequence[Question], asking: Asking) -> AnswerReport:
    prompts = [question.prompt for question in questions for _ in range(asking.samples)]
    engine = generator(session, max_new_tokens=asking.max_new_tokens)
    return evaluate_answers(engine, prompts, decode=session.encoder.decode, sampling=asking.sampling)


def _labels(session: Session, records: Sequence[Record]) -> LabelReport | TasksReport:
    """Labelled rows through the session's own objective; rows it cannot read are a ``UserError``."""
    trouble = "row {number} of the suite cannot be measured: {why}"
    examples = encoded(session, records, trouble=trouble, code="bad-suite-row")
    report = measure_rows(session, Exam(examples, [], [], dict(enumerate(records))))
    assert isinstance(report, LabelReport | TasksReport)
    return report


def _losses(session: Session, records: Sequence[Record]) -> Losses:
    """What answers or texts cost, by record: pieces that a long text was cut into are summed."""
    examples = []
    size: defaultdict[int, float] = defaultdict(float)
    for number, record in enumerate(records):
        if record.text is None:
            encodings = session.encoder.conversation(record, "answers")
        else:
            encodings = session.encoder.text(record.text, max_tokens=session.recipe.data.max_tokens)
        for encoding in encodings:
            ids, trained = np.array(encoding.ids, dtype=np.int32), np.array(encoding.trained, dtype=bool)
            trained[:1] = False  # nothing comes before the first token to predict it from
            examples.append(Example(ids, trained, number))
            size[number] += len(session.encoder.decode(ids[trained].tolist()).encode())
    tokens = int(session.recipe.train.tokens_per_microbatch)
    sums = evaluate_loss(session.policy, Sft(), examples, tokens_per_microbatch=tokens).sums
    nll, counted = np.zeros(len(records)), np.zeros(len(records))
    np.add.at(nll, sums.rows, sums.nll)
    np.add.at(counted, sums.rows, sums.tokens)
    return Losses(nll, counted, np.array([size[number] for number in range(len(records))]))
