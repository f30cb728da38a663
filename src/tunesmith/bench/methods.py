"""Every tuning method on one task: rates searched with the same budget, several seeds, one table.

For each candidate three rates around its usual one are tried on a share of the updates, judged by the recipe's own
validation rows; the best is trained in full from every seed and judged on the test rows. Scores are paired by row with
those of full fine-tuning, each row's outcome averaged over the seeds, so an interval speaks of new rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tunesmith.bench.cells import Cell, Done, Say, run_cells
from tunesmith.bench.outcomes import outcomes, score_name
from tunesmith.errors import UserError
from tunesmith.metrics.intervals import mean_interval, paired_difference
from tunesmith.recipe import Part, Recipe
from tunesmith.recipe.load import validated

FACTORS = (1.0, 0.2, 5.0)
"""Rates tried, as multiples of a method's usual one."""
BASELINE = "full"


@dataclass(frozen=True)
class Candidate:
    """A method under the name it has in the table, and the rate its search is centred on."""

    name: str
    method: Part
    rate: float
    changes: Mapping[str, Any]
    """Further options of ``model`` (``quantize``)."""


@dataclass(frozen=True)
class Plan:
    """How much is spent: the same for every candidate."""

    seeds: int = 3
    search_share: float = 0.25
    test: tuple[str, ...] = ()
    """Files of rows for the final score; empty: the recipe's validation rows, on which the rate was chosen too."""


def compare_methods(
    recipe: Recipe,
    candidates: Sequence[Candidate],
    plan: Plan,
    folder: Path,
    *,
    jobs: int = 1,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """The table of ``candidates`` on ``recipe``: ``{"score": name, "rows": [{method, rate, share, score …}]}``.

    Raises ``UserError`` where the baseline ``full`` fails, because everything is told relative to it.
    """
    rates = _searched(recipe, candidates, plan, folder, jobs=jobs, say=say)
    finals = [
        (candidate, Cell(f"{candidate.name}, seed {seed}", _final(recipe, candidate, rate, seed, plan)))
        for candidate, rate in rates
        for seed in range(plan.seeds)
    ]
    done = run_cells([cell for _, cell in finals], folder, jobs=jobs, say=say)
    by_name: dict[str, list[Done]] = {}
    for (candidate, _), one in zip(finals, done, strict=True):
        by_name.setdefault(candidate.name, []).append(one)
    whole = [one for one in by_name.get(BASELINE, []) if not one.error]
    if not whole:
        raise UserError(
            "full fine-tuning failed on this recipe, and everything is told relative to it",
            got=(by_name.get(BASELINE) or done)[0].why,
            code="no-baseline",
        )
    rows = [_row(candidate, rate, by_name[candidate.name], whole) for candidate, rate in rates]
    return {"score": score_name(whole[0]), "seeds": plan.seeds, "rows": rows}


def _searched(
    recipe: Recipe, candidates: Sequence[Candidate], plan: Plan, folder: Path, *, jobs: int, say: Say
) -> list[tuple[Candidate, float]]:
    tries = [(candidate, candidate.rate * factor) for candidate in candidates for factor in FACTORS]
    cells = [
        Cell(f"{candidate.name}, rate {rate:.1e}", _search(recipe, candidate, rate, plan)) for candidate, rate in tries
    ]
    done = run_cells(cells, folder, jobs=jobs, say=say)
    best: dict[str, tuple[float, float]] = {}
    for (candidate, rate), one in zip(tries, done, strict=True):
        found = None if one.error else one.report.get("validation_loss")
        loss = float("inf") if found is None else float(found)
        if candidate.name not in best or loss < best[candidate.name][0]:
            best[candidate.name] = (loss, rate)
    return [(candidate, best[candidate.name][1]) for candidate in candidates]


def _changed(recipe: Recipe, candidate: Candidate, rate: float, seed: int, **train: Any) -> dict[str, Any]:
    values = recipe.model_dump()
    values["method"] = candidate.method
    values["model"] |= candidate.changes
    values["seed"] = seed
    values["proofs"] = "off"
    values["train"] |= {"learning_rate": rate, "early_stopping": None, **train}
    return values


def _search(recipe: Recipe, candidate: Candidate, rate: float, plan: Plan) -> Recipe:
    length: dict[str, Any] = {"epochs": recipe.train.epochs * plan.search_share}
    if recipe.train.steps is not None:
        length = {"steps": max(1, round(recipe.train.steps * plan.search_share))}
    values = _changed(recipe, candidate, rate, recipe.seed, evaluate_every=10**9, save_every=10**9, **length)
    values["evaluate"] |= {"prompts": 0, "before": False, "suites": []}
    values["retention"] = "none"
    return validated(Recipe, values)


def _final(recipe: Recipe, candidate: Candidate, rate: float, seed: int, plan: Plan) -> Recipe:
    """The last update's model is judged, never the best one by the rows it is judged on."""
    values = _changed(recipe, candidate, rate, seed, evaluate_every=10**9, save_every=10**9)
    if plan.test:
        sources = values["data"]["train"]
        format_ = sources[0]["format"] if sources else "auto"
        values["data"]["validation"] = [{"path": path, "format": format_} for path in plan.test]
    return validated(Recipe, values)


def _row(candidate: Candidate, rate: float, done: Sequence[Done], whole: Sequence[Done]) -> dict[str, Any]:
    good = [one for one in done if not one.error]
    row: dict[str, Any] = {"method": candidate.name, "rate": rate, "failed": [one.why for one in done if one.error]}
    if not good:
        return row
    scores, baseline = _averaged(good), _averaged(whole)
    first, base = good[0].report, whole[0].report
    row |= {
        "trained": first["trainable_parameters"],
        "share": first["trainable_parameters"] / base["trainable_parameters"],
        "score": mean_interval(scores).as_dict(),
        "by_seed": [float(np.mean(outcomes(one))) for one in good],
        "forgetting": _median(good, lambda report: (report.get("forgetting") or {}).get("value")),
        "speed": _ratio(good, whole, "tokens_per_second"),
        "memory": _ratio(good, whole, "peak_memory_bytes"),
        "artifact_bytes": first["artifact_bytes"],
    }
    if scores.shape == baseline.shape:
        row["against_full"] = paired_difference(baseline, scores).as_dict()
    return row


def _averaged(done: Sequence[Done]) -> Any:
    """Each test row's outcome, averaged over the seeds: float64 ``[rows]``."""
    return np.mean([outcomes(one) for one in done], axis=0)


def _median(done: Sequence[Done], value: Any) -> float | None:
    found = [number for one in done if (number := value(one.report)) is not None]
    return median(found) if found else None


def _ratio(done: Sequence[Done], whole: Sequence[Done], key: str) -> float:
    return float(median(one.report[key] for one in done) / median(one.report[key] for one in whole))
