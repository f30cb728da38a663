"""The diagnosis of a run: gathers what the rules read, measures the rows they ask for, and writes ``diagnosis.json``.

While a run trains, the rules that need no judgement look at its curves after every evaluation and say once what they
find.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.contracts.batch import Example, Feed
from tunesmith.data.prepare import Prepared
from tunesmith.diagnosis.diagnose import diagnose, findings
from tunesmith.diagnosis.history import History, Row
from tunesmith.engine.sinks.jsonl import read
from tunesmith.evaluation.labels import Given
from tunesmith.evaluation.loss import Sums
from tunesmith.events import Event, Sink
from tunesmith.run.folder import Run
from tunesmith.run.judge import Exam, measure
from tunesmith.run.session import Session
from tunesmith.seed import derive

FILE = "diagnosis.json"
SAMPLE = 256
"""Training rows that are measured once more after training: a small part of an epoch."""
EARLY = ("rate-too-high", "overfitting", "order-effects")
"""What is worth saying before training ends."""
SHOWN = 100


def watching(emit: Sink, run: Run) -> Sink:
    """``emit``, with a note after an evaluation where the run's record so far shows an ailment; each is told once."""
    told: set[str] = set()

    def watch(event: Event) -> None:
        emit(event)
        if event.kind != "evaluation" or not run.events.is_file():
            return
        for finding in findings(History(read(run.events), run.recipe.model_dump(mode="json"))):
            if finding.name in EARLY and finding.name not in told:
                told.add(finding.name)
                emit(Event("note", event.step, {"text": f"{finding.name}: {finding.what} {finding.advice}"}))

    return watch


def told_of(run: Run) -> dict[str, Any]:
    """The diagnosis as the run wrote it; where it wrote none, what its files alone allow (no rows are measured)."""
    return run.last_stage.read(FILE) or diagnose(_history(run.last_stage))


def write_diagnosis(run: Run, session: Session, prepared: Prepared, *, feed: Feed) -> dict[str, Any]:
    """Diagnose a run whose judgement is written, with ``session``'s tuned model at hand; returns what was written."""
    rows = _Rows(session, prepared)
    found = diagnose(_history(run, rows=rows, feed=feed))
    run.write(FILE, found)
    return found


def _history(run: Run, *, rows: _Rows | None = None, feed: Feed | None = None) -> History:
    recipe = run.recipe
    before, after = run.read("eval/before.json"), run.read("eval/after.json")
    measured = rows is not None and rows.readable
    return History(
        events=read(run.events),
        recipe=recipe.model_dump(mode="json"),
        report=run.summary(),
        before=before,
        after=after,
        usual_rate=_usual_rate(recipe.method.name),
        rows=rows.sample(before) if rows is not None and measured else (),
        rows_of=(lambda step: rows.of(feed.update(step - 1))) if rows and measured and feed is not None else None,
    )


def _usual_rate(method: str) -> float | None:
    from tunesmith.methods import TABLE

    return getattr(TABLE.load(method), "usual_rate", None)


@dataclass
class _Rows:
    """Rows of a run with their losses under its model."""

    session: Session
    prepared: Prepared

    @property
    def readable(self) -> bool:
        """Whether rows have a loss of their own: not where answers are sampled, rows are judged together, or the label
        of a row is found over several of its windows."""
        objective, rows = self.session.parts.objective, self.prepared.train.rows
        windowed = objective.judged == "labels" and len(set(rows.tolist())) < len(rows)
        return objective.judged in ("tokens", "labels") and not objective.samples and not windowed

    def sample(self, before: Mapping[str, Any]) -> list[Row]:
        """Held-out rows, beside the base's own loss of each, and some training rows drawn by the seed."""
        held = list(self.prepared.validation)
        store = self.prepared.train
        drawn = random.Random(derive(self.session.recipe.seed, "diagnosis"))
        chosen = sorted(drawn.sample(range(len(store)), min(SAMPLE, len(store))))
        training = [store[place] for place in chosen]
        first: Sequence[float | None] = _base_losses(before, len(held)) or [None] * len(held)
        return self._rows(held, first) + self._rows(training, self._without(training))

    def of(self, examples: Sequence[Example]) -> list[Row]:
        """The rows of ``examples``, the highest loss first."""
        return sorted(self._rows(examples, [None] * len(examples)), key=lambda row: -row.loss)

    def _without(self, examples: Sequence[Example]) -> Sequence[float | None]:
        """Losses of the base, where the method can be taken off."""
        if self.session.attached.artifact == "model":
            return [None] * len(examples)
        with self.session.attached.off():
            return [loss for loss, _, _ in self._measured(examples)]

    def _rows(self, examples: Sequence[Example], base: Sequence[float | None]) -> list[Row]:
        return [
            Row(self._where(one), self._text(one), loss, first, label, said)
            for one, first, (loss, label, said) in zip(examples, base, self._measured(examples), strict=True)
            if loss is not None
        ]

    def _measured(self, examples: Sequence[Example]) -> list[tuple[float | None, str, str]]:
        """Nats a target of each example, its label and what is said of it (where it has one of a class)."""
        if not examples:
            return []
        wanted = {example.row for example in examples}
        records = self.prepared.records(wanted) if self.session.task is not None else {}
        sums = measure(self.session, Exam(list(examples), [], [], records)).sums
        if isinstance(sums, Sums):
            pairs = zip(sums.nll.tolist(), sums.tokens.tolist(), strict=True)
            return [(nll / count if count else None, "", "") for nll, count in pairs]
        if isinstance(sums, Given) and len(sums) == len(examples):
            return _labelled(sums)
        return [(None, "", "")] * len(examples)

    def _where(self, example: Example) -> str:
        source = self.prepared.job.sources[example.source].path
        for store in (self.prepared.train, self.prepared.validation):
            (places,) = (store.rows == example.row).nonzero()
            if len(places):
                return f"{source} line {int(store.lines[places[0]])}"
        return str(source)

    def _text(self, example: Example) -> str:
        """The end of what is read and the beginning of what is learned."""
        decode = self.session.encoder.decode
        read_only = " ".join(decode(example.ids[~example.trained].tolist()).split())
        if example.labels is not None:
            return read_only[:SHOWN]
        learned = " ".join(decode(example.ids[example.trained].tolist()).split())
        return f"{read_only[-SHOWN:]} → {learned[:SHOWN]}"


def _labelled(sums: Given) -> list[tuple[float | None, str, str]]:
    found: list[tuple[float | None, str, str]] = []
    for place in range(len(sums)):
        weight = float(sums.weight[place])
        loss = float(sums.loss[place]) / weight if weight else None
        one_class = sums.problem == "class" and isinstance(sums.wanted[place], int)
        names = (sums.labels[sums.wanted[place]], sums.labels[sums.said[place]]) if one_class else ("", "")
        found.append((loss, *names))
    return found


def _base_losses(before: Mapping[str, Any], count: int) -> list[float | None] | None:
    """Loss of each held-out sequence under the base, as judged before training."""
    sums = (before.get("sums") or {}).get("task") or {}
    above, below = sums.get("nll") or sums.get("loss"), sums.get("tokens") or sums.get("weight")
    if not above or not below or len(above) != count:
        return None
    return [value / size if size else None for value, size in zip(above, below, strict=True)]
