"""What a metric of likelihoods is: it names continuations of contexts, and reads how likely a model finds each.

Nothing is generated, so a model that cannot yet keep to a form of answer is measured as well as one that can. A row is
``{prompt, choices: [...], answer}``, where ``answer`` is the number of the right choice (from 0) or its text; or
``{contexts: [...], continuation, answer}``, where the contexts compete (Trinh and Le 2018, arXiv:1806.02847).

The trap: where words carry their blank in front, ``"…:" + "Paris"`` is another token than ``"…: Paris"``. Where text is
asked raw, ``delimiter`` therefore stands before every continuation; in a chat an answer begins without one.

Shape legend: ``U`` rows, ``S`` numbers a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import UserError
from tunesmith.metrics.base import Array, Figure

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Continuation:
    """A text, what follows it, and what stands between the two where they are joined without a chat template."""

    context: str
    text: str
    delimiter: str = " "


@dataclass(frozen=True)
class Likelihood:
    """Of one continuation: its log-likelihood in ``nats``, its ``tokens``, and whether each was the likeliest."""

    nats: float
    tokens: int
    greedy: bool


class LikelihoodMetric(Figure):
    """Base of the metrics of continuations; subclasses give ``parts`` and ``value``."""

    delimiter: str = " "
    """What stands between prompt and choice where they are asked without a chat template."""

    def asked(self, row: Row) -> list[Continuation]:
        """What is scored for a row that ``refusal`` has nothing against."""
        if "contexts" in row:
            return [Continuation(context, row["continuation"], self.delimiter) for context in row["contexts"]]
        return [Continuation(row["prompt"], choice, self.delimiter) for choice in row["choices"]]

    def refusal(self, row: Row) -> str | None:
        """Why this row can never be measured; None where it can."""
        choices = options_of(row)
        if len(choices) < 2 or not all(isinstance(one, str) and one for one in choices):
            return "it needs at least two texts in `choices` (or in `contexts`, with a `continuation`)"
        if not isinstance(row.get("continuation" if "contexts" in row else "prompt"), str):
            return "it has no prompt" if "contexts" not in row else "it has contexts and no continuation"
        return None

    def parts(self, rows: Sequence[Row], found: Sequence[Sequence[Likelihood]]) -> Array:
        """Numbers of each row ``[U, S]`` that add up over rows."""
        raise NotImplementedError

    def check(self, rows: Sequence[Row]) -> None:
        """Raise ``UserError`` (``unmeasurable-row``) for the first of ``rows`` that can never be measured."""
        for number, row in enumerate(rows, start=1):
            reason = self.refusal(row)
            if reason:
                raise UserError(
                    f"the metric {self.NAME} cannot measure row {number}: {reason}",
                    got=", ".join(row) or "no column",
                    allowed="{prompt, choices: [...], answer: the number of the right one or its text}",
                    code="unmeasurable-row",
                )


def options_of(row: Row) -> list[Any]:
    """The choices, or the contexts, of a row; none where it has no list of them."""
    given = row.get("contexts", row.get("choices"))
    return list(given) if isinstance(given, list | tuple) else []


def right_of(row: Row) -> int | None:
    """The number of the right choice; None where ``answer`` names none."""
    choices, answer = options_of(row), row.get("answer")
    if isinstance(answer, str):
        return choices.index(answer) if answer in choices else None
    fits = isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices)
    return answer if fits else None
