"""A sweep as one HTML file: the trials' curves over each other, each option against what came out, a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tunesmith.report import charts
from tunesmith.report.charts import Curve
from tunesmith.report.markup import join, table, tag
from tunesmith.report.page import Section, page
from tunesmith.report.plots import Frame
from tunesmith.run.sweep_trials import words

SOURCE = "sweep.json"
Row = Mapping[str, Any]


def sweep_page(result: Mapping[str, Any]) -> str:
    """The file for what ``sweep`` returned; a ``UserError`` (``missing-extra``) where pictures cannot be drawn."""
    trials: Sequence[Row] = result["trials"]
    best, metric = result["best"], str(result["metric"]).replace("_", " ")
    counts = {state: sum(row["state"] == state for row in trials) for state in ("finished", "stopped", "failed")}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lead = f"Best of {len(trials)} trials ({said}): {words(best['values'])}, {metric} {best['value']:.4f}"
    sections = [
        Section(
            "curves", "Trials", _curves(trials, best, metric), "Curves that end early were stopped: others were better."
        ),
        Section(
            "options",
            "What it depends on",
            _options(trials, metric),
            "Each trial is a dot; only those trained to the end.",
        ),
        Section("table", "All trials", _table(trials)),
    ]
    return page("A sweep", tag("p", lead, class_="lead"), sections, eyebrow="Tunesmith · sweep")


def _curves(trials: Sequence[Row], best: Row, metric: str) -> Markup:
    drawn = [row for row in trials if row["curve"]]
    drawn.sort(key=lambda row: row["number"] == best["number"])  # the best lies over the others
    found = [
        Curve(
            f"{row['number']}: {words(row['values'])}",
            [point[0] for point in row["curve"]],
            [point[1] for point in row["curve"]],
            faint=row["state"] != "finished",
            dots=row["number"] == best["number"],
        )
        for row in drawn
    ]
    return charts.curves(found, Frame(f"{metric} on the validation rows", SOURCE, wide=True), y=metric)


def _options(trials: Sequence[Row], metric: str) -> Markup:
    done = [row for row in trials if row["state"] == "finished" and row["value"] is not None]
    pictures = []
    for path in done[0]["values"] if done else ():
        if all(isinstance(row["values"][path], int | float) for row in done):
            dots = [(str(row["number"]), float(row["values"][path]), float(row["value"])) for row in done]
            pictures.append(charts.points(dots, Frame(path, SOURCE), x=path, y=metric))
    return join(pictures) if pictures else tag("p", "No option that is a number was swept.")


def _table(trials: Sequence[Row]) -> Markup:
    paths = list(trials[0]["values"])
    head = ["trial", *paths, "state", "value", "updates", "seconds"]
    rows = [
        [
            str(row["number"]),
            *(
                f"{row['values'][path]:.4g}" if isinstance(row["values"][path], float) else str(row["values"][path])
                for path in paths
            ),
            row["why"] or row["state"],
            "–" if row["value"] is None else f"{row['value']:.4f}",
            f"{row['updates']} of {row['of']}",
            "–" if row["seconds"] is None else f"{row['seconds']:.1f}",
        ]
        for row in trials
    ]
    return table(head, rows)
