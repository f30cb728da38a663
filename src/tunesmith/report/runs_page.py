"""Several runs side by side: one table, curves over each other, what each gained against what it forgot and cost.

Paired differences are handed in (``run.compare``): they stand in the documents as ``compare``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tunesmith.report import charts, words
from tunesmith.report.charts import Curve
from tunesmith.report.documents import Documents
from tunesmith.report.markup import Child, join, more, number, table, tag, text
from tunesmith.report.page import Section, page
from tunesmith.report.plots import Frame
from tunesmith.report.run_facts import RunFacts
from tunesmith.report.run_page import SECTIONS
from tunesmith.report.sections.curves import EVENTS, smoothed, thinned
from tunesmith.report.sections.top import interval, method_words, top

COMPARE = "compare"
COSTS = (
    ("time in updates", "seconds", "seconds"),
    ("tokens a second", "tokens_per_second", "plain"),
    ("peak memory", "peak_memory_bytes", "bytes"),
    ("trained parameters", "trainable_parameters", "scaled"),
)


def runs_page(runs: Sequence[RunFacts], compared: Mapping[str, Any]) -> str:
    """The whole HTML file about ``runs``, the first of which the others are compared with."""
    sections = [
        _table(runs),
        _differences(compared, {facts.folder: facts.name for facts in runs}),
        _pictures(runs),
        *(_one(facts) for facts in runs),
    ]
    names = ", ".join(facts.name for facts in runs)
    foot = tag("p", "Made by Tunesmith from the files of these runs. It loads nothing from elsewhere.")
    shown = [section for section in sections if section is not None]
    lead = tag("p", f"{_count(len(runs))} runs: {names}", class_="lead")
    return page("Runs side by side", lead, shown, eyebrow="Tunesmith · comparison", foot=foot)


def _count(runs: int) -> str:
    return {2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six"}.get(runs, "Several")


def _table(runs: Sequence[RunFacts]) -> Section:
    kinds = [words.kind(facts) for facts in runs]
    said = {"good": "good result", "warn": "look closer", "bad": "do not use"}
    rows: list[tuple[Child, ...]] = [
        ("verdict", *(tag("span", said[kind], class_=f"badge {kind}") for kind in kinds)),
        ("base", *(text(facts.traced("recipe.yaml", "model", "base")) for facts in runs)),
        ("method", *(method_words(facts.get("recipe.yaml", "method") or {}) for facts in runs)),
        ("learning rate", *(number(facts.traced("recipe.yaml", "train", "learning_rate"), "rate") for facts in runs)),
    ]
    names = list(dict.fromkeys((one.rows, one.name) for facts in runs for one in facts.figures("answers", "task")))
    for rows_of, name in names:
        rows.append((words.name_of(name), *(_cell(facts, rows_of, name) for facts in runs)))
    rows.append(("loss on what the base knew", *(_cell(facts, "retention", "nll") for facts in runs)))
    rows += [(title, *(number(facts.traced("report.json", key), form) for facts in runs)) for title, key, form in COSTS]
    head = ("", *(facts.name for facts in runs))
    return Section("table", "At a glance", table(head, rows), "Before → after where it was measured before.")


def _cell(facts: RunFacts, rows: str, name: str) -> Markup:
    figure = next((one for one in facts.figures(rows) if one.name == name), None)
    if figure is None:
        return tag("span", "–", class_="absent")
    form = words.form_of(name)
    colour = {"better": "good-text", "worse": "bad-text"}.get(figure.verdict)
    after = number(facts.change(figure, "after"), form, class_=colour)
    if not figure.found.get("before"):
        return after
    return join([tag("span", number(facts.change(figure, "before"), form), " → ", class_="quiet"), after])


def _differences(compared: Mapping[str, Any], names: Mapping[str, str]) -> Section | None:
    documents = Documents({COMPARE: compared})
    first = names[compared["first"]]
    rows: list[tuple[Child, ...]] = []
    for run, differences in compared["differences"].items():
        for metric, found in differences.items():
            if found is None:
                continue
            at = (COMPARE, "differences", run, metric)
            bounds = interval(documents.traced(*at, "low"), documents.traced(*at, "high"), "signed")
            badge = _badge(found, compared["higher_is_better"].get(metric))
            value = join([number(documents.traced(*at, "value"), "signed"), " ", tag("span", bounds, class_="quiet")])
            rows.append((names[run], _metric(metric), value, badge))
    if not rows:
        return None
    lead = f"Each run against {first}, on the same held-out rows, with 95% intervals."
    return Section("differences", "Differences", table(("run", "figure", "difference", ""), rows), lead)


def _badge(found: Mapping[str, Any], higher_is_better: bool | None) -> Markup:
    """Better, worse, changed where neither way is better, or not clear where the interval holds zero."""
    if found["low"] is None or found["low"] <= 0 <= found["high"]:
        return tag("span", "not clear", class_="badge")
    if higher_is_better is None:
        return tag("span", "changed", class_="badge")
    better = (found["value"] > 0) == higher_is_better
    return tag("span", "better" if better else "worse", class_=f"badge {'good' if better else 'bad'}")


def _metric(name: str) -> str:
    """``task nll`` in words."""
    rows, _, metric = name.partition(" ")
    where = {"task": "held-out rows", "answers": "answers", "retention": "what the base knew"}
    return f"{words.name_of(metric)} on {where[rows]}"


def _pictures(runs: Sequence[RunFacts]) -> Section:
    return Section("pictures", "Pictures", tag("div", *_losses(runs), _trade(runs), *_costs(runs), class_="pictures"))


def _losses(runs: Sequence[RunFacts]) -> list[Markup]:
    training, held = [], []
    for facts in runs:
        file = facts.newest(EVENTS)
        pairs = facts.documents.series(file, "step", "loss")
        if pairs:
            x, y = thinned(pairs)
            training.append(Curve(facts.name, x, smoothed(y, max(1, min(50, len(y) // 15)))))
        measured = facts.documents.series(file, "evaluation", "validation_loss")
        if measured:
            held.append(Curve(facts.name, *thinned(measured), dots=True))
    source = " ".join(f"{facts.newest(EVENTS)}#step/loss" for facts in runs)
    shown = (("Training loss, running mean", training), ("Loss on held-out rows", held))
    return [charts.curves(some, Frame(title, source), y="nats a token") for title, some in shown if some]


def _trade(runs: Sequence[RunFacts]) -> Markup | None:
    """What was gained against what was forgotten."""
    found, name = [], ""
    for facts in runs:
        first, lost = words.foremost(facts), words.forgotten(facts)
        if first is not None and lost is not None:
            name = words.name_of(first.name)
            found.append((facts.name, lost.found["change"]["value"], first.found["after"]["value"]))
    if len(found) < 2:
        return None
    source = " ".join(f"{facts.file('report.json')}#/changes" for facts in runs)
    note = "Better is further up and further left: more gained, less forgotten."
    frame = Frame("Gained against forgotten", source, note=note)
    return charts.points(found, frame, x="forgotten, nats a token", y=name)


def _costs(runs: Sequence[RunFacts]) -> list[Markup]:
    found = []
    for title, key, scale in (
        ("Minutes in updates", "seconds", 1 / 60),
        ("Peak memory, GiB", "peak_memory_bytes", 2**-30),
    ):
        values = [scale * float(facts.get("report.json", key) or 0.0) for facts in runs]
        source = " ".join(f"{facts.file('report.json')}#/{key}" for facts in runs)
        found.append(charts.bars([facts.name for facts in runs], [(title, values)], Frame(title, source)))
    return found


def _one(facts: RunFacts) -> Section:
    parts = [
        more(section.title, tag("p", section.lead, class_="lead") if section.lead else None, section.body)
        for make in SECTIONS
        if (section := make(facts)) is not None
    ]
    return Section(f"run-{facts.prefix.rstrip('/')}", facts.name, join([top(facts), *parts]))
