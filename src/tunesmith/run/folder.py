"""The run folder: the interface between parts. Only a run writes it; everything else reads it.

runs/<name>/  recipe.yaml (resolved)  environment.json  ledger.json  proof.json  events.jsonl
              checkpoints/step-000200/  adapter/ or model/  eval/{before,after}.json  report.json
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError
from tunesmith.files import disk_errors, recover, write_json, write_text
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import dump

if TYPE_CHECKING:
    from tunesmith.run.use import Tuned

ARTIFACTS = ("adapter", "model")
ASKED = "asked.yaml"


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    folder: Path

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """A finished or unfinished run; a ``UserError`` where ``path`` is none."""
        folder = Path(path)
        if never_began(folder):
            raise UserError(
                f"{path} is a run without a result: it was stopped before its first update",
                hint="`tunesmith train RECIPE` starts it again and says why.",
                code="no-result",
            )
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

    def stage_folder(self, number: int, name: str) -> Path:
        """Where stage ``number`` (from 0) is trained."""
        return self.folder / "stages" / (name if name.startswith(f"{number + 1}-") else f"{number + 1}-{name}")

    @property
    def last_stage(self) -> Run:
        """The newest stage of a run that has stages; otherwise the run itself."""
        stages = [path for path in (self.folder / "stages").glob("*-*") if (path / "recipe.yaml").is_file()]
        return Run(max(stages, key=lambda path: int(path.name.partition("-")[0]))) if stages else self

    @property
    def artifact(self) -> Path:
        """``adapter/`` or ``model/``: the best checkpoint by the recipe's metric."""
        folder = self.last_stage.folder
        for name in ARTIFACTS:
            if (folder / name).is_dir():
                return folder / name
        raise UserError(
            f"the run {self.folder} has no result yet",
            hint="Continue it with `tunesmith train RECIPE --resume`.",
            code="no-result",
        )

    @property
    def proven(self) -> bool:
        """Whether the proofs ran and none failed (those that time was too short for are None)."""
        proofs = self.read("proof.json").get("proofs", [])
        return bool(proofs) and all(proof["passed"] is not False for proof in proofs)

    @property
    def begun(self) -> bool:
        """Whether anything of it, or of one of its stages, is worth keeping: a checkpoint or a result."""
        kept = any((self.folder / name).is_dir() for name in (*ARTIFACTS, "checkpoints"))
        return kept or any(Run(stage).begun for stage in (self.folder / "stages").glob("*-*"))

    @property
    def finished(self) -> bool:
        """Whether it was trained and judged to the end."""
        return bool(self.summary().get("finished"))

    def lock(self) -> ExitStack:
        """Keep other processes out of the folder until the returned stack is closed (or this process ends)."""
        import fcntl

        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY)
        held = ExitStack()
        held.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            held.close()
            raise UserError(
                f"another process is training into {self.folder}",
                hint="Wait for it, stop it, or choose another folder with --out.",
                code="run-busy",
            ) from error
        return held

    def clear(self) -> None:
        """Forget a start that left nothing worth keeping."""
        for name in ("recipe.yaml", ASKED, "events.jsonl", "proof.json"):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "stages", ignore_errors=True)

    def discard(self) -> None:
        """Remove what a run leaves that was refused before its recipe was resolved; all else in the folder stays."""
        if never_began(self.folder):
            self.events.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

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
        try:
            return json.loads(path.read_text()) if path.is_file() else {}
        except ValueError as error:
            raise UserError(
                f"{path} is damaged: {error}",
                hint="Remove it; a finished run writes it again with --resume.",
                code="damaged-file",
            ) from error

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file of the folder, whole."""
        write_json(self.folder / name, value)

    def write_recipe(self, recipe: Recipe, *, asked: Recipe) -> None:
        """Write the resolved recipe, and once what was asked for, so that resuming can tell whether it is the same."""
        if not (self.folder / ASKED).is_file():
            write_text(self.folder / ASKED, dump(asked))
        write_text(self.folder / "recipe.yaml", dump(recipe))

    def same_recipe(self, asked: Recipe) -> Recipe:
        """The resolved recipe, if ``asked`` is what the run was started with (or is the resolved one itself)."""
        resolved = self.recipe
        path = self.folder / ASKED
        first = Recipe.load(path) if path.is_file() else resolved
        changed = _differing(first.model_dump(), asked.model_dump())
        if changed and asked != resolved:
            raise UserError(
                "the recipe is not the one this run was started with",
                got=f"other values for {', '.join(changed)}",
                hint=f"Go on with it as it was by `tunesmith train {self.folder} --resume`, or choose another --out; "
                f"there, model.start={self.folder} trains on from its result.",
                code="recipe-changed",
            )
        return resolved

    @property
    def report(self) -> SimpleNamespace:
        """The summary with its entries as attributes: ``run.report.validation_loss``."""
        return SimpleNamespace(**self.summary())

    @cached_property
    def model(self) -> Tuned:
        """The tuned model, loaded when first used: ``run.model.generate("...")``."""
        from tunesmith.run.use import Tuned, joined_rows, open_run

        return Tuned(open_run(self), raw=joined_rows(self.last_stage))

    def summary(self) -> dict[str, Any]:
        """What `tunesmith train --json` prints."""
        return self.read("report.json")


def never_began(folder: Path) -> bool:
    """Whether ``folder`` was left by a run that was stopped before its recipe was resolved."""
    return not (folder / "recipe.yaml").is_file() and (folder / "events.jsonl").is_file()


def _differing(first: Mapping[str, Any], second: Mapping[str, Any], where: str = "") -> list[str]:
    """Dotted paths at which two nested dictionaries differ."""
    found: list[str] = []
    for key in first.keys() | second.keys():
        one, other = first.get(key), second.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _differing(one, other, f"{where}{key}.")
        elif one != other:
            found.append(f"{where}{key}")
    return sorted(found)


def create(recipe: Recipe, out: str | Path | None, *, resume: bool) -> Run:
    """The folder of a new run, or of the one to go on with; an old run is never overwritten."""
    folder = Path(out) if out else Path("runs") / recipe.name
    started = (folder / "recipe.yaml").is_file()
    if started and not (folder / ASKED).is_file():
        raise UserError(
            f"{folder} holds a recipe.yaml that no run wrote",
            hint="Choose a folder for the run with --out; this one would be overwritten.",
            code="not-a-run",
        )
    if started and resume:
        for name in ARTIFACTS:
            recover(folder / name)
    if resume and not started:
        raise UserError(
            f"nothing to resume in {folder}",
            hint="Start it without --resume, or name its folder with --out.",
            code="nothing-to-resume",
        )
    if started and not resume and not Run(folder).begun:
        Run(folder).clear()
        started = False
    if started and not resume:
        raise UserError(
            f"{folder} already holds a run",
            hint="Go on with it by --resume, or choose another folder with --out or another name.",
            code="run-exists",
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", allowed="a folder for the run", code="run-exists")
    return Run(folder)
