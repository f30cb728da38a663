"""What it gained and what it forgot: every figure before and after, with the interval of its change, and the gate."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from tunesmith.report import charts, words
from tunesmith.report.charts import Change
from tunesmith.report.markup import Child, join, number, table, tag, text
from tunesmith.report.page import Section
from tunesmith.report.plots import Frame
from tunesmith.report.run_facts import Figure, RunFacts
from tunesmith.report.sections.top import interval

BADGE = {"better": "good", "worse": "bad", "moved": "", "same": "", "unknown": ""}
LARGE = 10.0
SAID = {"moved": "changed", "same": "no clear change", "unknown": "too few rows"}


def gained(facts: RunFacts) -> Section | None:
    """The task's own figures."""
    found = facts.figures("answers", "task")
    if not found:
        return None
    body = [*_pictures(facts, found, "On held-out rows"), _table(facts, found), _sources(facts), _suites(facts)]
    lead = "Measured on rows that were kept out of training, the same ones before and after. Bars are 95% intervals."
    return Section("gained", "What it gained", join(body), lead)


def kept(facts: RunFacts) -> Section | None:
    """What the base could do before."""
    found = facts.figures("retention")
    if not found:
        return None
    spread = _spread(facts, "retention", "How far each text moved")
    body = [*_pictures(facts, found, "On what the base knew", beside=spread), _table(facts, found)]
    lead = "Text that shows what the base knew. A higher loss afterwards is forgetting."
    return Section("kept", "What it forgot", join(body), lead)


def gate(facts: RunFacts) -> Section | None:
    """The thresholds of the recipe, line by line."""
    lines = facts.get("report.json", "gate", "lines")
    if not lines:
        return None
    rows = []
    for place, line in enumerate(lines):
        at = ("report.json", "gate", "lines", place)
        badge = tag(
            "span", "met" if line["passed"] else "missed", class_=f"badge {'good' if line['passed'] else 'bad'}"
        )
        bounds = interval(facts.traced(*at, "low"), facts.traced(*at, "high"), "plain")
        value = join([number(facts.traced(*at, "value")), " ", tag("span", bounds, class_="quiet")])
        rows.append((text(facts.traced(*at, "name")), value, text(facts.traced(*at, "needed")), badge))
    return Section("gate", "The gate", table(("figure", "measured", "needed", ""), rows), "What it had to reach.")


def _pictures(facts: RunFacts, found: Sequence[Figure], title: str, beside: Markup | None = None) -> list[Markup]:
    """One picture for shares, one for losses and scores, one for what would dwarf them; perplexity says nothing new."""
    shares = [one for one in found if words.form_of(one.name) == "percent"]
    others = [one for one in found if one not in shares and one.name.rpartition("/")[2] != "perplexity"]
    large = [one for one in others if abs(one.found["after"]["value"] or 0.0) >= LARGE]
    small = [one for one in others if one not in large]
    source = f"{facts.file('report.json')}#/changes"
    pictures = [
        charts.changes([_change(one) for one in some], Frame(f"{title}: {words_}", source), shares=some is shares)
        for some, words_ in ((shares, "higher is better"), (small, "losses and scores"), (large, "larger numbers"))
        if some
    ]
    spread = beside if beside is not None else _spread(facts, "task", "How far each row moved")
    return [tag("div", *pictures, spread, class_="pictures")]


def _change(figure: Figure) -> Change:
    before, after = figure.found.get("before"), figure.found["after"]
    first = (before["value"], before["low"], before["high"]) if before else None
    last = (after["value"], after["low"], after["high"])
    return Change(words.name_of(figure.name), first, last, figure.verdict)


def _spread(facts: RunFacts, rows: str, title: str) -> Markup | None:
    """How the loss of each held-out sequence changed, where both times the same ones were asked."""
    before, after = (facts.get(f"eval/{when}.json", "sums", rows) for when in ("before", "after"))
    if not before or not after or "nll" not in before or before.get("content") != after.get("content"):
        return None
    triples = zip(before["nll"], after["nll"], after["tokens"], strict=True)
    moved = [(last - first) / tokens for first, last, tokens in triples if tokens]
    if len(moved) < 8:
        return None
    source = " ".join(f"{facts.newest(f'eval/{when}.json')}#/sums/{rows}/nll" for when in ("before", "after"))
    note = "Left of zero: the sequence became more likely. Right of it: less likely than for the base."
    frame = Frame(title, source, note=note, wide=True)
    return charts.histogram([("sequences", moved)], frame, x="change of the loss, nats a token", bins=40, zero=True)


def _table(facts: RunFacts, found: Sequence[Figure]) -> Markup:
    rows: list[tuple[Child, ...]] = []
    for one in found:
        form, change_form = words.form_of(one.name), words.change_form(one.name)
        low, high = (facts.change(one, "change", key) for key in ("low", "high"))
        bounds = interval(low, high, change_form)
        moved = number(facts.change(one, "change"), change_form, absent="")
        unit = " points " if change_form == "points" else " "
        change = join([moved, unit, tag("span", bounds, class_="quiet")])
        said = SAID.get(one.verdict, one.verdict)
        badge = tag("span", said, class_=f"badge {BADGE.get(one.verdict, '')}") if said else ""
        rows.append(
            (
                words.name_of(one.name),
                number(facts.change(one, "before"), form, absent="not measured"),
                number(facts.change(one, "after"), form),
                change,
                number(facts.change(one, "after", "n")),
                badge,
            )
        )
    return table(("figure", "before", "after", "change [95% interval]", "of", ""), rows)


def _sources(facts: RunFacts) -> Markup | None:
    """Held-out rows by the source they came from."""
    by_source = facts.get("report.json", "by_source")
    if not by_source:
        return None
    metrics = list(dict.fromkeys(name for found in by_source.values() for name in found))
    rows = [
        (
            source,
            *(
                number(facts.traced("report.json", "by_source", source, name, "value"), words.form_of(name))
                for name in metrics
            ),
        )
        for source in by_source
    ]
    return tag("h3", "By source, afterwards") + table(("source", *map(words.name_of, metrics)), rows)


def _suites(facts: RunFacts) -> Markup | None:
    suites = facts.get("report.json", "suites")
    if not suites:
        return None
    rows: list[tuple[Child, ...]] = []
    for place, suite in enumerate(suites):
        for name in suite["metrics"]:
            at = ("report.json", "suites", place, "metrics", name)
            bounds = interval(facts.traced(*at, "low"), facts.traced(*at, "high"), "plain")
            failed = name in suite["failed"]
            badge = tag("span", "failed", class_="badge bad") if failed else ""
            value = join([number(facts.traced(*at, "value")), " ", tag("span", bounds, class_="quiet")])
            rows.append((suite["suite"], name, value, number(facts.traced(*at, "n")), badge))
    return tag("h3", "Suites, afterwards") + table(("suite", "task", "measured [95% interval]", "of", ""), rows)
