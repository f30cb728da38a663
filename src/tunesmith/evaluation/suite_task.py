"""One task of a suite: which rows, how they are asked, what the answers are measured by, and what is enough."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith.evaluation.benchmarks import TABLE as BENCHMARKS
from tunesmith.evaluation.benchmarks.base import Benchmark
from tunesmith.evaluation.labels import lower_is_better
from tunesmith.evaluation.variations import Variation
from tunesmith.metrics import TABLE
from tunesmith.metrics.base import Figure
from tunesmith.recipe.base import Config
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import Part

OF_RUN = "run:"
"""How rows are named that are drawn from what a run was trained on (``run:training``)."""


class Task(Config):
    """One thing to measure."""

    name: str = Field(min_length=1)
    """Name of the task in results; unique in its suite."""
    rows: str | list[dict[str, Any]]
    """A file of rows (relative to the suite file), or the rows themselves. Of what a run was trained on: the
    beginnings of its rows (`run:training`), of rows it held out (`run:held-out`) or of rows with personal data
    (`run:personal`)."""
    benchmark: str | None = None
    """Whose rows these are, where they are a benchmark's (`tunesmith suite benchmarks`); asked as lm-eval does."""
    metric: str | Part = "exact_match"
    """A metric of `tunesmith metrics` by its name, or with options: `{name: pass_at_k, k: 5}`; of a model with a task
    head any metric of its objective (`accuracy`, `macro_f1`, `pearson` …; of several tasks `name/accuracy`). By
    default `exact_match`, of a benchmark its own."""
    threshold: float | None = None
    """What passes: at least this value; for metrics that are better when lower (`perplexity`, `length` …) at most."""
    at_least: float | None = None
    """The same, whatever the metric: no value below it passes."""
    at_most: float | None = None
    """The same, whatever the metric: no value above it passes."""
    better: Literal["higher", "lower"] | None = None
    """Which way is better, where it is not the metric's own: refusing is right where what is asked for does harm."""
    references: str = "references"
    """Column with a list of right answers, of which the best match counts; by default, or where a row lacks it, the
    row's answer."""
    raw: bool | None = None
    """Ask without a chat template, the text as it is; by default as the model was trained, of benchmarks always."""
    wrap: list[str] = []
    """Texts with a place for the `{prompt}`: every row is asked in each of them."""
    shots: Annotated[int, Field(ge=0)] = 0
    """Solved rows in front of every prompt: the first of `examples`."""
    examples: str | list[dict[str, Any]] = []
    """Where `shots` come from: a file of rows (relative to the suite file), or rows."""
    vary: list[Variation] = []
    """Ask the rows in other forms as well, and tell what each costs: paired differences named `task/variation`."""
    drop: Annotated[float, Field(ge=0.0)] | None = None
    """The most that any variation may cost."""
    samples: Annotated[int, Field(gt=0)] = 1
    """Answers to each prompt; more than one needs a temperature."""
    temperature: Annotated[float, Field(ge=0.0)] = 0.0
    """How freely answers are drawn; 0 takes the likeliest token."""
    max_new_tokens: Annotated[int, Field(gt=0)] | None = None
    """Longest answer in tokens; by default the model's recipe decides (`evaluate.max_new_tokens`, 64)."""
    stop: list[str] = []
    """Texts that end an answer, which is cut before them."""
    tags: list[str] = []
    """Words that `tunesmith eval --tag` chooses tasks by."""

    @property
    def form(self) -> Benchmark | None:
        """The benchmark whose rows these are; ``UserError`` where there is none of that name."""
        return None if self.benchmark is None else BENCHMARKS.load(self.benchmark)()

    @property
    def part(self) -> Part:
        """The metric with its options."""
        form, given = self.form, self.metric
        if form is not None and isinstance(given, str):
            name = given if "metric" in self.model_fields_set else form.metric
            given = form.metrics.get(name, name)
        return Part(name=given) if isinstance(given, str) else given

    @property
    def figure(self) -> Figure | None:
        """The metric's config; None where only a task head knows it. ``UserError`` for a wrong option."""
        return build(TABLE, self.part) if self.part.name in TABLE else None

    @property
    def of_run(self) -> str | None:
        """Which rows of a run these are; None for rows of their own."""
        return self.rows.removeprefix(OF_RUN) if isinstance(self.rows, str) and self.rows.startswith(OF_RUN) else None

    @property
    def bounded(self) -> bool:
        """Whether there is a threshold."""
        return any(bound is not None for bound in (self.threshold, self.at_least, self.at_most))

    @property
    def lower_is_better(self) -> bool:
        """Which way the metric improves."""
        if self.better is not None:
            return self.better == "lower"
        figure = self.figure
        return figure.lower_is_better if figure else lower_is_better(self.part.name)

    def passes(self, value: float) -> bool:
        """Whether ``value`` meets the thresholds (always, where there are none); not a number meets none."""
        low = self.lower_is_better
        least = [self.at_least, None if low else self.threshold]
        most = [self.at_most, self.threshold if low else None]
        return all(bound is None or value >= bound for bound in least) and all(
            bound is None or value <= bound for bound in most
        )
