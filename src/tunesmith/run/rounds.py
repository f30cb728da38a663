"""``tunesmith iterate``: what a run got wrong is what the next round learns, round by round.

    round k:  ask run k−1 about the pool -> its failures -> train on from run k−1 on them, with old rows replayed
              -> the same exam as before, compared in pairs

    <run>-rounds/  rounds.json  data/{held-out,old}-0.jsonl  round-1/{failures.jsonl, pairs.jsonl, run/}  round-2/ …

The pool is what the run was trained on, or rows that are given. The run's held-out rows are written down first and are
never in the pool: failures mined from an exam would make the next exam meaningless.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.prepare import Prepared
from tunesmith.data.sources import Broken
from tunesmith.data.store import TokenStore
from tunesmith.errors import UserError
from tunesmith.evaluation.comparison import as_dict
from tunesmith.events import Event, Sink, fan_out
from tunesmith.files import write_text
from tunesmith.objectives import TABLE as OBJECTIVES
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import validated
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import SourceConfig
from tunesmith.run.folder import ASKED, Run
from tunesmith.run.judge import Marks, compared
from tunesmith.run.making import make
from tunesmith.run.rows import learned, prepare_with, with_rows
from tunesmith.run.session import Language
from tunesmith.run.stages import train

FILE = "rounds.json"
WATCHED = (("answers", "exact_match"), ("task", "reward"), ("task", "accuracy"), ("task", "nll"), ("task", "loss"))
"""What a round is judged by: the first of these that the exam has."""
NOTHING_WRONG, WORSE = "nothing of the pool is answered wrongly", "the round made it worse"


@dataclass(frozen=True)
class Programme:
    """What stays the same over the rounds."""

    first: Run
    folder: Path
    recipe: Recipe
    """The first run's, with its rows written down."""
    old: list[SourceConfig]
    pool: list[SourceConfig]
    replay: float
    mining: Mapping[str, Any]


def iterate(
    run: str | Path,
    *,
    rounds: int = 1,
    rows: Sequence[str] = (),
    replay: float = 0.5,
    out: str | Path | None = None,
    sinks: tuple[Sink, ...] = (),
    **mining: Any,
) -> dict[str, Any]:
    """Go ``rounds`` rounds on from the finished ``run``, and on where an earlier call was stopped.

    ``rows`` are files to mine in place of the training rows; ``replay`` is the share of old rows in every update;
    ``mining`` are options of ``making.failures``. Returns ``{first, folder, rounds, stopped, finished}``; a round is
    ``{round, run, asked, wrong, watched, changes, verdict}``, its changes since the round before. Raises ``UserError``:
    ``not-a-run``, ``no-result``, ``cannot-combine``, ``bad-rounds``, and what making and training raise.
    """
    if rounds < 1 or not 0.0 <= replay < 1.0:
        raise UserError(
            "rounds are 1 and more, replay is a share below 1", got=f"{rounds}, {replay}", code="bad-rounds"
        )
    emit = fan_out(*sinks)
    programme = _programme(Run.open(run), out, rows, replay, mining)
    table = Run(programme.folder).read(FILE) or {"first": str(run), "rounds": [], "stopped": None}
    while len(table["rounds"]) < rounds and table["stopped"] is None:
        number = len(table["rounds"]) + 1
        emit(Event("phase", 0, {"text": f"round {number} of {rounds}"}))
        before = Run.open(table["rounds"][-1]["run"]) if table["rounds"] else programme.first
        found = _round(programme, number, before, sinks)
        if found is None:
            return _result(programme, table, rounds)
        if found["run"] is None:
            table["stopped"] = NOTHING_WRONG
        else:
            table["rounds"].append(found)
            table["stopped"] = WORSE if found["verdict"] == "worse" else None
        Run(programme.folder).write(FILE, table)
    return _result(programme, table, rounds)


def _result(programme: Programme, table: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    done = table["stopped"] is not None or len(table["rounds"]) >= rounds
    return {**table, "folder": str(programme.folder), "finished": done}


def _programme(
    first: Run, out: str | Path | None, rows: Sequence[str], replay: float, mining: Mapping[str, Any]
) -> Programme:
    last = first.last_stage
    if not last.read("eval/after.json"):
        raise UserError(f"{first.folder} has no evaluation yet", hint="Finish it with --resume.", code="no-result")
    objective = build(OBJECTIVES, last.recipe.objective)
    if objective.head() is not None:
        raise UserError(
            "failures are mined from models that write answers",
            got=f"objective {last.recipe.objective.name}",
            code="cannot-combine",
        )
    folder = Path(out) if out else first.folder.with_name(f"{first.folder.name}-rounds")
    held, old = _written_down(last, folder / "data")
    recipe = _again(last, held)
    pool = [SourceConfig(path=path) for path in rows] or old
    return Programme(first, folder, recipe, old, pool, replay, mining)


def _again(last: Run, held: list[SourceConfig]) -> Recipe:
    """The recipe of a run with its held-out rows as files; as many epochs as were asked for, where no steps were."""
    recipe, asked = last.recipe, Recipe.load(last.folder / ASKED)
    values = recipe.model_dump()
    values["data"]["validation"] = [one.model_dump() for one in held] or 0.0
    values["train"]["steps"] = asked.train.steps
    values["addons"] = [one for one in values["addons"] if one["name"] != "replay"]
    return validated(Recipe, values)


def _round(programme: Programme, number: int, before: Run, sinks: tuple[Sink, ...]) -> dict[str, Any] | None:
    """One round; None where it was stopped, and without a run where nothing is wrong."""
    folder = programme.folder / f"round-{number}"
    out, pairs = folder / "failures.jsonl", folder / "pairs.jsonl"
    options = {"max_new_tokens": programme.recipe.evaluate.max_new_tokens, **programme.mining}
    pool = [one.model_dump() for one in programme.pool]
    mined = make("failures", before.folder, out=out, pairs=pairs, rows=pool, sinks=sinks, **options)
    objective = build(OBJECTIVES, programme.recipe.objective)
    kind = "pairs" if objective.unit == "pairs" else "rows"
    told = {"round": number, "asked": mined["done"], "wrong": mined["written"][kind]}
    if not told["wrong"]:
        return {**told, "run": None}
    recipe = _next(programme, number, before, mined[kind], samples=objective.samples)
    here = Run(folder / "run")
    base_marks = programme.first.read("eval/before.json")
    if base_marks and not here.read("eval/before.json"):
        here.write("eval/before.json", base_marks)  # what the base was measured at: forgetting is since then
    begun = here.begun
    if not here.finished:
        train(recipe, out=here.folder, resume=begun, sinks=sinks)
    if not here.finished:
        return None
    marks = [Marks.from_dict(one.read("eval/after.json")) for one in (before, here)]
    changes = as_dict(compared(*marks))
    watched = next(([what, name] for what, name in WATCHED if name in changes.get(what, {})), None)
    verdict = None if watched is None else changes[watched[0]][watched[1]]["verdict"]
    return {**told, "run": str(here.folder), "watched": watched, "changes": changes, "verdict": verdict}


def _next(programme: Programme, number: int, before: Run, rows: str, *, samples: bool) -> Recipe:
    values = programme.recipe.model_dump()
    old = [one.model_dump() for one in programme.old]
    values["name"] = f"{programme.recipe.name}-round-{number}"
    values["model"]["start"] = str(before.folder.resolve())
    values["data"]["train"] = [{"path": str(Path(rows).resolve())}]
    if programme.replay and samples:  # its rows are prompts: old ones are among them
        values["data"]["train"] += old
    elif programme.replay:
        values["addons"] = [*values["addons"], {"name": "replay", "share": programme.replay, "data": old}]
    return validated(Recipe, values)


def _written_down(run: Run, folder: Path) -> tuple[list[SourceConfig], list[SourceConfig]]:
    """The held-out rows of ``run`` and those it was trained on, as they stand in its sources, a file a source."""
    recipe = learned(with_rows(run.recipe))
    prepared = prepare_with(recipe, Language.of(recipe).encoder)
    held = list(_files(prepared, prepared.validation, recipe, folder, "held-out"))
    return held, list(_files(prepared, prepared.train, recipe, folder, "old"))


def _files(prepared: Prepared, side: TokenStore, recipe: Recipe, folder: Path, name: str) -> Iterator[SourceConfig]:
    given = recipe.data.validation if isinstance(recipe.data.validation, list) else []
    wanted, row = set(side.rows.tolist()), -1
    for number, (config, opened) in enumerate(zip([*recipe.data.train, *given], prepared.opened, strict=True)):
        lines = []
        for one in opened.rows():
            row += 1
            if row in wanted and not isinstance(one.value, Broken):
                lines.append(json.dumps(one.value, ensure_ascii=False, default=str) + "\n")
        if lines:
            path = folder / f"{name}-{number}.jsonl"
            if not path.is_file():
                write_text(path, "".join(lines))
            form = prepared.job.sources[number].format
            yield SourceConfig(path=str(path.resolve()), format=form, columns=config.columns, weight=config.weight)
