"""From a recipe's list of rewards to one weighted sum:  R(x) = Σ_k w_k r_k(x).

Whatever a reward does wrong (raises, hangs, gives NaN, too few numbers) ends in one ``UserError`` that names the reward
and the sample, before any of its numbers is used.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunesmith.contracts.reward import OpenScorer, Reward, Sample, Scores
from tunesmith.errors import UserError
from tunesmith.recipe.parts import build
from tunesmith.recipe.problems import as_user_error
from tunesmith.recipe.schema import Part
from tunesmith.rewards import TABLE
from tunesmith.rewards.base import RewardConfig, named, require_rows, require_scores

Given = Part | Mapping[str, Any] | str | RewardConfig
"""How one reward may be written: a recipe's part, a mapping with ``name``, a name alone, or its config object."""


@dataclass(frozen=True)
class Weighted:
    """One reward of a sum: the name its scores are shown under, its weight, and what scores."""

    name: str
    weight: float
    reward: Reward


@dataclass(frozen=True)
class WeightedRewards:
    """A weighted sum of rewards."""

    rewards: tuple[Weighted, ...]

    def score(self, samples: Sequence[Sample]) -> Scores:
        """Totals ``[n]`` and every part's own scores ``[n]``; ``UserError`` where a reward fails (see the module)."""
        total = [0.0] * len(samples)
        parts: dict[str, list[float]] = {}
        notes: dict[str, list[str]] = {}
        if not samples:
            return Scores([], {item.name: [] for item in self.rewards})
        for item in self.rewards:
            parts[item.name], reasons = _scored(item, samples)
            total = [sum_ + item.weight * score for sum_, score in zip(total, parts[item.name], strict=True)]
            if reasons:
                notes[item.name] = reasons
        return Scores(total, parts, notes)

    def require_rows(self, samples: Sequence[Sample]) -> None:
        """Refuse rows that can never be scored (no reference, no tests), whatever their answers will be.

        ``run`` calls it with all training rows before the first update, with empty answers.
        """
        for item in self.rewards:
            if isinstance(item.reward, RewardConfig):
                require_rows(item.name, samples, item.reward.refusal)


def read_rewards(parts: Sequence[Given]) -> list[RewardConfig]:
    """The config objects of ``parts``, checked but with nothing started; a ``UserError`` for what is unknown."""
    if not parts:
        raise UserError("there is no reward", allowed=sorted(TABLE), hint="Name at least one.", code="no-reward")
    return [part if isinstance(part, RewardConfig) else _read(part) for part in parts]


def build_rewards(parts: Sequence[Given], *, open_scorer: OpenScorer | None = None) -> WeightedRewards:
    """The weighted sum of ``parts``, each ready to score; ``open_scorer`` loads the model of the reward ``model``.

    Two parts of one name are shown as ``format`` and ``format-2``.
    """
    weighted: list[Weighted] = []
    for config in read_rewards(parts):
        name = _free(config.label(), {item.name for item in weighted})
        weighted.append(Weighted(name, config.weight, config.ready(open_scorer)))
    return WeightedRewards(tuple(weighted))


def _read(given: Part | Mapping[str, Any] | str) -> RewardConfig:
    part = given if isinstance(given, Part) else _part(given)
    name, _, function = part.name.partition(":")
    if name == "python" and function:
        part = Part(name="python", function=function, **part.fields)
    elif Path(name).suffix == ".py":
        part = Part(name="python", function=part.name, **part.fields)
    config: RewardConfig = build(TABLE, part)
    return config


def _part(given: Mapping[str, Any] | str) -> Part:
    try:
        return Part.model_validate({"name": given} if isinstance(given, str) else given)
    except ValidationError as error:
        raise as_user_error(error, Part, "reward") from None


def _free(name: str, taken: set[str]) -> str:
    names = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 2))]
    return next(candidate for candidate in names if candidate not in taken)


def _scored(item: Weighted, samples: Sequence[Sample]) -> tuple[list[float], list[str]]:
    """Scores, and reasons where the reward gives them."""
    judge = getattr(item.reward, "judge", None)
    try:
        if judge is None:
            return require_scores(item.name, samples, item.reward.score(samples)), []
        verdicts = judge(samples)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the reward {item.name} failed: {_told(error)}; {named(samples[0], 0)} is the first of {len(samples)}",
            code="reward-failed",
        ) from error
    scores = require_scores(item.name, samples, [verdict.score for verdict in verdicts])
    return scores, [verdict.note for verdict in verdicts]


def _told(error: Exception) -> str:
    """The error in a line, with the place it came from."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
