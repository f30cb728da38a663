"""What is done with held-out rows while a run trains: their loss at every evaluation, and the answers to a few of them.

Answers are greedy and written by the first process alone. Nothing of it reaches the training: every update draws its
own random numbers anew, and the model is given back as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from tunesmith.contracts.data import Message, Prompt, Record
from tunesmith.contracts.sampler import Ask
from tunesmith.data.candidates import imitated
from tunesmith.data.formats.base import BadRow
from tunesmith.engine.loop import Evaluate
from tunesmith.events import Event
from tunesmith.models.quantized.model import dequantized
from tunesmith.rollouts.questions import sample_of
from tunesmith.run.environment import dense_room
from tunesmith.run.judge import Exam, by_source, generator, measure
from tunesmith.run.rows import choose
from tunesmith.run.stage import Stage
from tunesmith.run.warnings import unwatchable

SHORT = 32
"""Most tokens of a sample answer: it is looked at, not judged."""


def evaluation(stage: Stage) -> Evaluate | None:
    """Measures the held-out rows and tells the answers to a few of them; None where no rows are held out."""
    if len(stage.prepared.validation) == 0:
        return None
    session, exam = stage.session, Exam(stage.validation, [], [], stage.records, stage.beside)
    answer = answering(stage)
    said: set[str] = set()

    def evaluate(step: int) -> Mapping[str, float]:
        report = measure(session, exam)
        losses = by_source(report, stage.sources)
        found = {f"validation_{name}": value for name, value in {**report.values(), **losses}.items()}
        text = unwatchable(found, session.recipe.train)
        if text is not None and text not in said:
            said.add(text)
            stage.emit(Event("note", step, {"text": text}))
        answer(step)
        return found

    return evaluate


def answering(stage: Stage) -> Callable[[int], None]:
    """Tells the present answers to ``evaluate.samples`` held-out prompts as an event; nothing where there are none."""
    prompts = sample_prompts(stage) if stage.workers.first else []
    session = stage.session

    def answer(step: int) -> None:
        if not prompts:
            return
        started = time.perf_counter()
        with dequantized(session.model, room=dense_room(session.device)):
            limit = min(session.recipe.evaluate.max_new_tokens, SHORT)
            found = generator(session, max_new_tokens=limit).sample([Ask(prompt.ids) for prompt in prompts])
        answers = [
            {
                "prompt": prompt.text,
                "reference": prompt.reference,
                "answer": session.encoder.decode(one.ids).strip(),
                "stopped": one.stopped,
            }
            for prompt, (one,) in zip(prompts, found, strict=True)
        ]
        stage.emit(Event("samples", step, {"answers": answers, "seconds": round(time.perf_counter() - started, 4)}))

    return answer


def sample_prompts(stage: Stage) -> list[Prompt]:
    """Held-out prompts, the first that the exam asks too: none of a task head or of plain text."""
    session, recipe = stage.session, stage.session.recipe
    wanted = recipe.evaluate.samples
    if wanted == 0 or session.task is not None or recipe.objective.name == "pretrain":
        return []
    records = [_answered(record) for record in stage.prepared.validation_records]
    found = choose(records, session.encoder, wanted, seed=recipe.seed)
    return [prompt for prompt in found if len(prompt.ids) < recipe.data.max_tokens]


def _answered(record: Record) -> Record:
    """The row as a conversation that ends in an answer: its own, the best of several, what a question's row says."""
    with suppress(BadRow):
        record = imitated(record)
    if record.messages and record.messages[-1].role == "user":
        wanted = Message("assistant", sample_of(record).reference or "")
        return replace(record, messages=(*record.messages, wanted), candidates=())
    return record
