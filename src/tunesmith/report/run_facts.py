"""What a page about a run is made from: the files of its folder, nothing else.

A run of several stages is a folder of run folders: what each stage recorded stands under ``stages/NAME/``, while the
judgement of the whole (``report.json``, ``eval/``) stands at the top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.recipe.yaml12 import read_yaml
from tunesmith.report.documents import Documents, Traced, pointer

FILES = (
    "report.json",
    "environment.json",
    "ledger.json",
    "proof.json",
    "diagnosis.json",
    "events.jsonl",
    "eval/before.json",
    "eval/after.json",
)
ANSWERS = "answers"


@dataclass(frozen=True)
class Figure:
    """One figure before and after: ``keys`` lead to ``{before, after, change, verdict}`` in ``report.json``."""

    rows: str
    """Which rows it was measured on: ``task``, ``answers``, ``retention``."""
    name: str
    found: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``same``, ``unknown``, or nothing where there is no change."""
        return self.found.get("verdict") or ""


@dataclass(frozen=True)
class RunFacts:
    """One run. ``prefix`` stands before its files' names where a page is about several runs."""

    name: str
    folder: str
    documents: Documents
    stages: tuple[str, ...]
    prefix: str = ""

    @classmethod
    def read(cls, folder: Path, *, name: str | None = None, prefix: str = "") -> RunFacts:
        """The facts of the run in ``folder``; ``UserError`` where it is none or has not come to a result."""
        if not (folder / "recipe.yaml").is_file():
            raise UserError(
                f"{folder} is not a run folder",
                allowed="a folder that `tunesmith train` wrote (it holds recipe.yaml)",
                hint="Runs are in runs/<name> unless --out said otherwise.",
                code="not-a-run",
            )
        stages = sorted(
            (path.name for path in (folder / "stages").glob("*-*") if (path / "recipe.yaml").is_file()),
            key=lambda stage: int(stage.partition("-")[0]),
        )
        files: dict[str, Any] = {}
        for place in ("", *(f"stages/{stage}/" for stage in stages)):
            here = folder / place
            found = Documents.of_folder(here, (*FILES, *_insights(here))).files
            files |= {f"{prefix}{place}{file}": value for file, value in found.items()}
            text = (here / "recipe.yaml").read_text(encoding="utf-8")
            files[f"{prefix}{place}recipe.yaml"] = read_yaml(text, str(here / "recipe.yaml"))
            files[f"{prefix}{place}recipe.yaml as text"] = text
        recipe = files[f"{prefix}recipe.yaml"]
        return cls(name or str(recipe.get("name", folder.name)), str(folder), Documents(files), tuple(stages), prefix)

    def file(self, name: str, stage: str | None = None) -> str:
        """The name of a file in the documents."""
        return f"{self.prefix}{'' if stage is None else f'stages/{stage}/'}{name}"

    def newest(self, name: str) -> str:
        """The file as the last stage wrote it, or the run itself where it has no stages (or the stage no such file)."""
        for stage in (*reversed(self.stages), None):
            if self.file(name, stage) in self.documents:
                return self.file(name, stage)
        return self.file(name)

    def each(self, name: str) -> Iterator[tuple[str, str]]:
        """``(stage, file)`` of every stage that has the file; one without a name where there are no stages."""
        for stage in self.stages or (None,):
            if self.file(name, stage) in self.documents:
                yield (stage or "", self.file(name, stage))

    def get(self, name: str, *keys: str | int) -> Any:
        """A plain value of the newest such file."""
        return self.documents.get(self.newest(name), *keys)

    def traced(self, name: str, *keys: str | int) -> Traced | None:
        """A value of a file of the whole run, with its source."""
        file = self.file(name) if self.file(name) in self.documents else self.newest(name)
        return self.documents.traced(file, *keys)

    def made(self, how: str, *sources: tuple[str | int, ...]) -> Traced | None:
        """A number derived from keys, each ``(file, key, key …)``."""
        return self.documents.made(how, *(pointer(self.newest(str(file)), *keys) for file, *keys in sources))

    @property
    def finished(self) -> bool:
        """Whether it was trained and judged to the end."""
        return bool(self.documents.get(self.file("report.json"), "finished"))

    def figures(self, *rows: str) -> list[Figure]:
        """Every figure of ``rows`` that was measured after training."""
        changes = self.documents.get(self.file("report.json"), "changes") or {}
        return [Figure(part, name, found) for part in rows for name, found in (changes.get(part) or {}).items()]

    def change(self, figure: Figure, when: str, key: str = "value") -> Traced | None:
        """A number of a figure: ``when`` is ``before``, ``after`` or ``change``."""
        return self.documents.traced(self.file("report.json"), "changes", figure.rows, figure.name, when, key)

    def starts(self) -> list[str]:
        """Sources of the newest ``start`` event of each stage: what began to be trained."""
        found = []
        for _, file in self.each("events.jsonl"):
            numbers = [number for number, event in enumerate(self.documents.files[file]) if event["kind"] == "start"]
            found += [pointer(file, numbers[-1])] if numbers else []
        return found


def _insights(folder: Path) -> tuple[str, ...]:
    return tuple(f"insight/{path.name}" for path in sorted((folder / "insight").glob("*.json")))
