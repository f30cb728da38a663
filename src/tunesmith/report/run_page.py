"""The page about a run: the verdict first, then pictures, then every detail with its source."""

from __future__ import annotations

from collections.abc import Callable

from tunesmith.report.markup import tag
from tunesmith.report.page import Section, page
from tunesmith.report.run_facts import RunFacts
from tunesmith.report.sections import curves, data, insight, results, samples, trust, watched
from tunesmith.report.sections.top import top

SECTIONS: tuple[Callable[[RunFacts], Section | None], ...] = (
    results.gained,
    results.kept,
    results.gate,
    samples.samples,
    watched.watched,
    trust.diagnosis,
    curves.curves,
    data.data,
    trust.proofs,
    trust.cost,
    insight.insight,
    trust.environment,
    trust.again,
)
"""In the order in which someone who decides about the run wants to know."""


def run_page(facts: RunFacts) -> str:
    """The whole HTML file about one run."""
    sections = [found for make in SECTIONS if (found := make(facts)) is not None]
    foot = tag(
        "p", "Made by Tunesmith from the files in ", tag("code", facts.folder), ". It loads nothing from elsewhere."
    )
    return page(facts.name, top(facts), sections, eyebrow="Tunesmith · training report", foot=foot)
