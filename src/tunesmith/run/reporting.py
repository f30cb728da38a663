"""Reports of runs: which folders, compared how, written where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.files import write_text
from tunesmith.report.card import card
from tunesmith.report.run_facts import RunFacts
from tunesmith.report.run_page import run_page
from tunesmith.report.runs_page import runs_page
from tunesmith.run.folder import Run

FILE, CARD = "report.html", "MODEL_CARD.md"


def write_report(runs: Sequence[str | Path], *, out: str | Path | None = None) -> Path:
    """Write the page about ``runs`` and return its path: ``report.html`` in the run, or here where they are several.

    Raises ``UserError``: ``not-a-run``, ``no-result``, ``missing-extra``, ``bad-arguments`` (a run named twice).
    """
    opened = [Run.open(run) for run in runs]
    if len({run.folder.resolve() for run in opened}) < len(opened):
        raise UserError("a run is named twice", got=", ".join(map(str, runs)), code="bad-arguments")
    if len(opened) == 1:
        path = Path(out) if out else opened[0].folder / FILE
        write_text(path, run_page(RunFacts.read(opened[0].folder)))
        return path
    from tunesmith.run.comparing import compare

    path = Path(out) if out else Path(FILE)
    names = _names([run.folder for run in opened])
    facts = [
        RunFacts.read(run.folder, name=name, prefix=f"{number}/")
        for number, (run, name) in enumerate(zip(opened, names, strict=True), start=1)
    ]
    write_text(path, runs_page(facts, compare([run.folder for run in opened])))
    return path


def write_card(run: str | Path, *, out: str | Path | None = None) -> Path:
    """Write the model card of a finished run and return its path; a ``UserError`` (``run-not-finished``) for others."""
    opened = Run.open(run)
    if not opened.finished:
        raise UserError(f"{opened.folder} is not finished", hint="Go on with --resume.", code="run-not-finished")
    path = Path(out) if out else opened.folder / CARD
    write_text(path, card(RunFacts.read(opened.folder)))
    return path


def _names(folders: Sequence[Path]) -> list[str]:
    """Names that tell the folders apart: as short as that allows."""
    for parts in range(1, max(len(folder.resolve().parts) for folder in folders) + 1):
        names = ["/".join(folder.resolve().parts[-parts:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
