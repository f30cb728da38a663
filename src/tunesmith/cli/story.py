"""The result of a run on a terminal: before and after, sources; of a demo also proofs, forgetting, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from tunesmith.cli.output import grid, interval, shown

VERDICTS = {"better": "green", "worse": "red"}


def tell(result: Mapping[str, Any], console: Console) -> None:
    """Print what ``run.demo`` returned: ``before``, ``after``, ``forgetting``, ``proofs``, ``answers``, ``seconds``."""
    _proofs(result["proofs"], console)
    _table("Gained on the task", result["before"], result["after"], console)
    forgetting = result["forgetting"]
    if forgetting:
        _table("Kept of what it knew", forgetting["before"], forgetting["after"], console)
        lost = forgetting.get("nats_per_token")
        if lost:
            console.print(f"  forgotten: {interval(lost)} nats a token of its own text", markup=False)
    _answers(result.get("answers", ()), console)
    console.print(f"\n[dim]{result['seconds']:.0f} seconds; everything is in[/] {result['run']}")


def tell_changes(changes: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print ``{rows: {metric: {before, after, change, verdict}}}`` as a table; nothing where there is nothing."""
    rows = [
        (name if number == 0 else "", metric, *_changed(found))
        for name, metrics in changes.items()
        for number, (metric, found) in enumerate(metrics.items())
    ]
    if rows:
        console.print("\n[bold]Before and after[/]")
        console.print(grid(("rows", "metric", "before", "after", "change [95% interval]", ""), rows))


def tell_sources(sources: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print ``{source: {metric: estimate}}``, a line a source; nothing where there is nothing."""
    if sources:
        metrics = tuple(dict.fromkeys(metric for found in sources.values() for metric in found))
        console.print("\n[bold]Held-out rows by source[/]")
        rows = [(name, *(interval(found.get(metric)) for metric in metrics)) for name, found in sources.items()]
        console.print(grid(("source", *metrics), rows))


def _changed(found: Mapping[str, Any]) -> tuple[str | Text, ...]:
    before, after = (found[when] and shown(found[when]["value"]) for when in ("before", "after"))
    verdict = found["verdict"] or ""
    words = f"unknown: too few rows ({found['change']['n']})" if verdict == "unknown" else verdict
    return before or "-", after, interval(found["change"]), Text(words, style=VERDICTS.get(verdict, ""))


def _proofs(proofs: Sequence[Mapping[str, Any]], console: Console) -> None:
    console.print("\n[bold]Proved before the first step[/]")
    for proof in proofs:
        mark = {None: "[yellow]–[/]", True: "[green]✓[/]", False: "[red]✗[/]"}[proof["passed"]]
        skipped = proof["passed"] is None
        numbers = "skipped" if skipped else f"{shown(proof['measured'])}, bound {shown(proof['bound'])}"
        console.print(f"  {mark} {escape(proof['why'])}  [dim]({escape(proof['name'])}: {numbers})[/]")


def _table(title: str, before: Mapping[str, Any], after: Mapping[str, Any], console: Console) -> None:
    rows = [(name.replace("_", " "), interval(before.get(name)), interval(after[name])) for name in after]
    console.print(f"\n[bold]{title}[/]")
    console.print(grid(("metric (95% interval)", "before", "after"), rows))


def _answers(answers: Sequence[Mapping[str, str]], console: Console) -> None:
    if not answers:
        return
    console.print("\n[bold]The same questions, before and after[/]")
    rows = [(item["question"], item["wanted"], _short(item["before"]), _short(item["after"])) for item in answers]
    console.print(grid(("question", "wanted", "before", "after"), rows))


def _short(text: str, limit: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[:limit] + "…"
