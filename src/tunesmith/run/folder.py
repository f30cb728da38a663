"""The run folder: the interface between parts. Only a run writes it; everything else reads it.

runs/<name>/  recipe.yaml (resolved)  environment.json  ledger.json  proof.json  events.jsonl
              checkpoints/step-000200/  adapter/ or model/  eval/{before,after}.json  report.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.files import recover, write_json, write_text
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import dump

ARTIFACTS = ("adapter", "model")


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    folder: Path

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """A finished or unfinished run; a ``UserError`` where ``path`` is none."""
        folder = Path(path)
        if not (folder / "recipe.yaml").is_file():
            raise UserError(
                f"{path} is not a run folder",
                allowed="a folder that `tunesmith train` wrote (it holds recipe.yaml)",
                hint="Runs are in runs/<name> unless --out said otherwise.",
                code="not-a-run",
            )
        return cls(folder)

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return Recipe.load(self.folder / "recipe.yaml")

    @property
    def artifact(self) -> Path:
        """``adapter/`` or ``model/``: the best checkpoint by the recipe's metric."""
        for name in ARTIFACTS:
            if (self.folder / name).is_dir():
                return self.folder / name
        raise UserError(
            f"the run {self.folder} has no result yet",
            hint="Continue it with `tunesmith train RECIPE --resume`.",
            code="no-result",
        )

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return self.folder / "checkpoints"

    @property
    def events(self) -> Path:
        """The record of events."""
        return self.folder / "events.jsonl"

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder, or an empty dictionary where it does not exist (yet)."""
        path = self.folder / name
        return json.loads(path.read_text()) if path.is_file() else {}

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file of the folder, whole."""
        write_json(self.folder / name, value)

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe."""
        write_text(self.folder / "recipe.yaml", dump(recipe))

    def summary(self) -> dict[str, Any]:
        """What `tunesmith train --json` prints."""
        return self.read("report.json")


def create(recipe: Recipe, out: str | Path | None, *, resume: bool) -> Run:
    """The folder of a new run, or of the one to go on with; an old run is never overwritten."""
    folder = Path(out) if out else Path("runs") / recipe.name
    started = (folder / "recipe.yaml").is_file()
    if started and resume:
        for name in ARTIFACTS:
            recover(folder / name)
    if resume and not started:
        raise UserError(
            f"nothing to resume in {folder}",
            hint="Start it without --resume, or name its folder with --out.",
            code="nothing-to-resume",
        )
    if started and not resume:
        raise UserError(
            f"{folder} already holds a run",
            hint="Go on with it by --resume, or choose another folder with --out or another name.",
            code="run-exists",
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", allowed="a folder for the run", code="run-exists")
    return Run(folder)
