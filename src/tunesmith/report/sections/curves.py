"""Curves of a training: loss, rate, gradient norm, speed, and whatever else its events tell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from markupsafe import Markup

from tunesmith.diagnosis import noise
from tunesmith.diagnosis.sources import by_source
from tunesmith.report import charts
from tunesmith.report.charts import Curve
from tunesmith.report.documents import Documents
from tunesmith.report.markup import join, number, tag, text
from tunesmith.report.page import Section
from tunesmith.report.plots import SERIES, Frame
from tunesmith.report.run_facts import RunFacts
from tunesmith.report.words import name_of

POINTS = 600
"""A curve has at most so many points; neighbours are averaged."""
EVENTS = "events.jsonl"
UNMEASURED = "It takes at least eight measured updates of several micro-batches each, and no penalty on the weights."
NOT_METRICS = frozenset({"kind", "step", "best", "stopped_early"})


def curves(facts: RunFacts) -> Section | None:
    """Pictures of every stage's updates."""
    found = [
        join(
            [
                tag("h3", stage) if stage else None,
                tag("div", *_of(facts, file, stage), class_="pictures"),
                _noise_line(facts.documents, facts.file("report.json", stage or None)),
            ]
        )
        for stage, file in facts.each(EVENTS)
        if facts.documents.series(file, "step", "loss")
    ]
    lead = "Every update of the training, and every time it was measured on held-out rows."
    return Section("curves", "How it went", join(found), lead) if found else None


def thinned(pairs: Sequence[tuple[float, float]], points: int = POINTS) -> tuple[list[float], list[float]]:
    """``x`` and ``y`` of at most ``points`` means of neighbours."""
    size = max(1, -(-len(pairs) // points))
    parts = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    return [part[-1][0] for part in parts], [sum(y for _, y in part) / len(part) for part in parts]


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and its neighbours, ``window`` values in all (fewer at the ends)."""
    sums = [0.0, *accumulate(values)]
    found = []
    for place in range(len(values)):
        start, end = max(0, place - window // 2), min(len(values), place + window // 2 + 1)
        found.append((sums[end] - sums[start]) / (end - start))
    return found


def loss_curves(documents: Documents, file: str) -> list[Curve]:
    """The loss of each update, its running mean, and the held-out loss."""
    x, y = thinned(documents.series(file, "step", "loss"))
    window = max(1, min(50, len(y) // 15))
    found = [Curve("each update", x, y, faint=True, colour="s1")] if window > 1 else []
    found.append(Curve("training", x, smoothed(y, window), colour="s1"))
    held = documents.series(file, "evaluation", "validation_loss")
    if held:
        found.append(Curve("held-out rows", *thinned(held), dots=True, colour="s2"))
    return found


def _of(facts: RunFacts, file: str, stage: str) -> list[Markup]:
    documents = facts.documents
    best = documents.get(facts.file("report.json", stage or None), "best_step")
    marks = [(float(best), "kept")] if best else []
    found = [
        charts.curves(
            loss_curves(documents, file), Frame("Loss", f"{file}#step/loss", wide=True), y="nats a token", at=marks
        )
    ]
    found += _metrics(documents, file)
    report = facts.file("report.json", stage or None)
    found += [
        picture
        for picture in (
            _sources(documents, file),
            _single(documents, file, "rate", "Learning rate"),
            _single(documents, file, "norm", "Gradient norm before clipping", log=True),
            _noise(documents, file, report),
            _single(documents, file, "update_ratio", "Size of an update relative to the weights", log=True),
            _speed(documents, file),
            _single(documents, file, "memory", "Memory", y="GiB", scale=2**-30),
            _terms(documents, file),
            _rollouts(documents, file),
        )
        if picture is not None
    ]
    return found


def _single(
    documents: Documents, file: str, key: str, title: str, *, log: bool = False, y: str = "", scale: float = 1.0
) -> Markup | None:
    pairs = documents.series(file, "step", key)
    if not pairs:
        return None
    x, values = thinned([(step, value * scale) for step, value in pairs])
    window = max(1, min(50, len(values) // 15)) if key == "norm" else 1
    lines = [Curve(title, x, smoothed(values, window), colour="s1")]
    if window > 1:
        lines.insert(0, Curve("each update", x, values, faint=True, colour="s1"))
        lines[1] = Curve("running mean", x, lines[1].y, colour="s1")
    return charts.curves(lines, Frame(title, f"{file}#step/{key}"), log=log and min(values) > 0, y=y)


def _speed(documents: Documents, file: str) -> Markup | None:
    tokens, seconds = (dict(documents.series(file, "step", key)) for key in ("tokens", "seconds"))
    steps = [step for step in tokens if seconds.get(step)]
    if not steps:
        return None
    size = max(1, len(steps) // 60)
    parts = [steps[start : start + size] for start in range(0, len(steps), size)]
    rates = [sum(tokens[step] for step in part) / sum(seconds[step] for step in part) for part in parts]
    frame = Frame("Tokens a second", f"{file}#step/tokens {file}#step/seconds")
    return charts.curves([Curve("tokens a second", [part[-1] for part in parts], rates)], frame, zero=True)


def _metrics(documents: Documents, file: str) -> list[Markup]:
    """What held-out rows were measured by besides the loss; losses by source share a picture."""
    events = [event for event in documents.files[file] if event["kind"] == "evaluation"]
    names = [key for key in dict.fromkeys(key for event in events for key in event) if key not in NOT_METRICS]
    loss = "validation_loss"
    sources = [name for name in names if name.startswith(f"{loss}/")]
    known = documents.series(file, "evaluation", loss)  # an only term of the loss is the loss itself
    single = [
        name
        for name in names
        if name not in sources
        and name not in (loss, "validation_perplexity")
        and documents.series(file, "evaluation", name) != known
    ]
    found = []
    if sources:
        lines = [
            Curve(name.removeprefix(f"{loss}/"), *thinned(documents.series(file, "evaluation", name)), dots=True)
            for name in sources
        ]
        frame = Frame("Held-out loss by source", f"{file}#evaluation/{loss}")
        found.append(charts.curves(lines, frame, y="nats a token"))
    for name in single[:5]:
        pairs = documents.series(file, "evaluation", name)
        if len(pairs) > 1:
            title = f"Held-out {name_of(name.removeprefix('validation_'))}"
            line = Curve(title, *thinned(pairs), dots=True, colour="s2")
            found.append(charts.curves([line], Frame(title, f"{file}#evaluation/{name}")))
    return found


def _sources(documents: Documents, file: str) -> Markup | None:
    """A curve for the training loss of each source, where rows come from several; the largest where they are many."""
    found = by_source(documents.files[file])
    largest = sorted(found, key=lambda name: -sum(one.units for one in found[name]))[: len(SERIES)]
    lines = []
    for name in (name for name in found if name in largest):
        x, sums = thinned([(one.step, one.loss * one.units) for one in found[name]])
        _, units = thinned([(one.step, one.units) for one in found[name]])
        window = max(1, min(50, len(x) // 15))
        pairs = zip(smoothed(sums, window), smoothed(units, window), strict=True)
        lines.append(Curve(name, x, [one / other for one, other in pairs]))
    return charts.curves(lines, Frame("Training loss by source", f"{file}#step/terms"), y="nats") if lines else None


def _noise(documents: Documents, file: str, report: str) -> Markup | None:
    """The gradient noise scale over the run beside the batch."""
    batch = documents.get(report, "noise_scale", "batch")
    pairs = noise.running(documents.files[file])
    if batch is None or len(pairs) < 2:
        return None
    x, y = thinned(pairs)
    lines = [Curve("noise scale", x, y), Curve("rows in an update", (x[0], x[-1]), (batch, batch), colour="muted")]
    frame = Frame("Gradient noise scale", f"{file}#step/gradient")
    return charts.curves(lines, frame, log=min(y) > 0, y="rows at which noise equals signal")


def _noise_line(documents: Documents, report: str) -> Markup | None:
    """The noise scale of the whole run and what it means, or why there is none; nothing of a run that is older."""
    if "noise_scale" not in (documents.get(report) or {}):
        return None
    if documents.get(report, "noise_scale") is None:
        return tag("p", "Gradient noise scale: not measured. ", UNMEASURED, class_="quiet")
    at = (report, "noise_scale")
    value, low, high = (number(documents.traced(*at, key), absent="∞") for key in ("value", "low", "high"))
    batch = number(documents.traced(*at, "batch"))
    said = Markup("Gradient noise scale: {} rows [{}, {}], with {} in an update. ").format(value, low, high, batch)
    return tag("p", said, text(documents.traced(*at, "means")))


def _terms(documents: Documents, file: str) -> Markup | None:
    """Terms of the loss, where it has several; those of sources have a picture of their own."""
    pairs = documents.series(file, "step", "terms")
    known = list(dict.fromkeys(name for _, terms in pairs for name in terms))
    names = [name for name in known if name.partition("/")[0] not in known or "/" not in name][:6]
    if len(names) < 2:
        return None
    lines = []
    for name in names:
        x, y = thinned([(step, terms[name]) for step, terms in pairs if terms.get(name) is not None])
        lines.append(Curve(name, x, smoothed(y, max(1, min(50, len(y) // 15)))))
    return charts.curves(lines, Frame("Parts of the loss", f"{file}#step/terms"))


def _rollouts(documents: Documents, file: str) -> Markup | None:
    pairs = documents.series(file, "rollout", "reward")
    if not pairs:
        return None
    return charts.curves(
        [Curve("reward", *thinned(pairs))], Frame("Reward of sampled answers", f"{file}#rollout/reward")
    )
