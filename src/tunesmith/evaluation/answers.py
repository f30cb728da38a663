"""Generated answers against references: every metric of the table, with intervals and the rows behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tunesmith.contracts.data import Prompt
from tunesmith.contracts.sampler import Ask
from tunesmith.errors import UserError
from tunesmith.generation.generator import Generator, Sampling
from tunesmith.metrics.intervals import Estimate, mean_interval
from tunesmith.metrics.table import METRICS
from tunesmith.seed import derive


@dataclass(frozen=True)
class AnswerRow:
    """One prompt, what was wanted, what came, and its scores by metric."""

    prompt: str
    reference: str
    answer: str
    stopped: bool
    """whether the model ended the answer itself, rather than the length limit"""
    scores: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class AnswerReport:
    """Means by metric over ``rows``, which are in the order of the prompts; ``stopped`` is the share that ended."""

    scores: Mapping[str, Estimate]
    stopped: Estimate
    rows: Sequence[AnswerRow]

    @classmethod
    def of(cls, rows: Sequence[AnswerRow]) -> AnswerReport:
        """The report of scored ``rows`` (at least one)."""
        return cls(
            scores={name: mean_interval([row.scores[name] for row in rows]) for name in rows[0].scores},
            stopped=mean_interval([float(row.stopped) for row in rows]),
            rows=rows,
        )

    @property
    def exact_match(self) -> Estimate:
        """Share of answers equal to the reference after normalisation."""
        return self.scores["exact_match"]

    @property
    def f1(self) -> Estimate:
        """Mean token F1."""
        return self.scores["f1"]

    def metrics(self) -> Mapping[str, Estimate]:
        """The estimates by name."""
        return {**self.scores, "stopped": self.stopped}


def evaluate_answers(
    generator: Generator,
    prompts: Sequence[Prompt],
    *,
    decode: Callable[[list[int]], str],
    sampling: Sampling | None = None,
    stop: Sequence[str] = (),
    blanks: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> AnswerReport:
    """Answer ``prompts`` (greedily unless ``sampling``) and score them; ``decode`` turns ids into text.

    Answers are cut before the first of ``stop``, and blanks at their ends are taken off unless ``blanks``.
    ``on_progress`` is told how many are done. Raises ``UserError`` (``no-prompts``) where there is nothing to answer.
    """
    if not prompts:
        raise UserError(
            "there is no held-out row with an answer to generate",
            hint="Give validation rows with prompts, or set evaluate.prompts to 0.",
            code="no-prompts",
        )
    metrics: dict[str, Callable[[str, str], float]] = {name: METRICS.load(name) for name in METRICS}
    rows: dict[int, AnswerRow] = {}
    asks = [
        Ask(prompt.ids, [derive(0, "request", number)], sampling or Sampling(), stop=stop)
        for number, prompt in enumerate(prompts)
    ]
    for finished in generator.sample_each(asks):
        prompt, text = prompts[finished.number], _cut(decode(finished.answer.ids), stop)
        text = text if blanks else text.strip()
        scores = {name: metric(text, prompt.reference) for name, metric in metrics.items()}
        rows[finished.number] = AnswerRow(prompt.text, prompt.reference, text, finished.answer.stopped, scores)
        if on_progress is not None:
            on_progress(len(rows))
    return AnswerReport.of([rows[number] for number in range(len(prompts))])


def _cut(text: str, stop: Sequence[str]) -> str:
    """``text`` up to the first of ``stop``."""
    for end in stop:
        text = text.partition(end)[0]
    return text
