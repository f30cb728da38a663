"""Every tuning method on one task: rates searched with the same budget, several seeds, one table.

For each candidate a rate is searched on the recipe's own validation rows (``search``); it is trained in full from every
seed and judged on the test rows. Scores are paired by row with those of full fine-tuning, each row's outcome averaged
over the seeds, so an interval speaks of new rows.

Speed is told twice: beside full fine-tuning, and as a share of what the floating-point operations of the two (counted
by ``models.flops``) let expect: ``(tokens/s · FLOPs a token) / (the same of full)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tunesmith.bench import search
from tunesmith.bench.candidates import Candidate
from tunesmith.bench.cells import Cell, Done, Say, run_cells
from tunesmith.bench.outcomes import outcomes, score_name
from tunesmith.errors import UserError
from tunesmith.metrics.intervals import mean_interval, paired_difference
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import validated

BASELINE = "full"
SEARCH_SEED = 1000
"""Added to the recipe's seed where a rate is chosen by whole runs."""


@dataclass(frozen=True)
class Plan:
    """How much is spent: the same for every candidate."""

    seeds: int = 3
    search_share: float = 0.25
    rates: Mapping[str, float] = field(default_factory=dict)
    """Learning rates by candidate that are known already, and not searched."""
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

    def try_out(candidate: Candidate, rate: float, whole: bool) -> Recipe:
        return _tried(recipe, candidate, rate, share=1.0 if whole else plan.search_share)

    _check_rates(plan, candidates)
    unknown = [candidate for candidate in candidates if candidate.name not in plan.rates]
    found = search.rates(unknown, try_out, folder, jobs=jobs, say=say)
    rates = {**plan.rates, **{candidate.name: rate for candidate, rate in zip(unknown, found, strict=True)}}
    finals = [
        (
            candidate,
            Cell(f"{candidate.name}, seed {seed}", _final(recipe, candidate, rates[candidate.name], seed, plan)),
        )
        for candidate in candidates
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
    rows = [_row(candidate, rates[candidate.name], by_name[candidate.name], whole) for candidate in candidates]
    return {"score": score_name(whole[0]), "seeds": plan.seeds, "rows": rows}


def _check_rates(plan: Plan, candidates: Sequence[Candidate]) -> None:
    names = [candidate.name for candidate in candidates]
    for name in plan.rates:
        if name not in names:
            raise UserError("a known rate is of no method compared here", got=name, allowed=names, code="bad-rate")


def _changed(recipe: Recipe, candidate: Candidate, rate: float, seed: int, **train: Any) -> dict[str, Any]:
    values = recipe.model_dump()
    values["method"] = candidate.method
    values["model"] |= candidate.changes
    values["seed"] = seed
    values["proofs"] = "off"
    values["train"] |= {"learning_rate": rate, "early_stopping": None, **train}
    return values


def _tried(recipe: Recipe, candidate: Candidate, rate: float, *, share: float) -> Recipe:
    length: dict[str, Any] = {"epochs": recipe.train.epochs * share}
    if recipe.train.steps is not None:
        length = {"steps": max(1, round(recipe.train.steps * share))}
    seed = recipe.seed + SEARCH_SEED if share == 1.0 else recipe.seed
    values = _changed(recipe, candidate, rate, seed, evaluate_every=10**9, save_every=10**9, **length)
    values["evaluate"] |= {"prompts": 0, "before": False, "suites": [], "samples": 0}
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
        "of_formula": _of_formula(good, whole),
        "memory": _ratio(good, whole, "peak_memory_bytes"),
        "artifact_bytes": first["artifact_bytes"],
    }
    if scores.shape == baseline.shape:
        row["against_full"] = paired_difference(baseline, scores).as_dict()
    return row


def _of_formula(done: Sequence[Done], whole: Sequence[Done]) -> float | None:
    """Useful FLOPs a second, of those of ``whole``; None where a run counted none."""
    if not all("flops_per_token" in one.report for one in (*done, *whole)):
        return None
    return _ratio(done, whole, "tokens_per_second") * _ratio(done, whole, "flops_per_token")


def _averaged(done: Sequence[Done]) -> Any:
    """Each test row's outcome, averaged over the seeds: float64 ``[rows]``."""
    return np.mean([outcomes(one) for one in done], axis=0)


def _median(done: Sequence[Done], value: Any) -> float | None:
    found = [number for one in done if (number := value(one.report)) is not None]
    return median(found) if found else None


def _ratio(done: Sequence[Done], whole: Sequence[Done], key: str) -> float:
    return float(median(one.report[key] for one in done) / median(one.report[key] for one in whole))
