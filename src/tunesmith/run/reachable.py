"""What a recipe names besides its base and rows, looked for before anything is loaded: teachers, rewards, old rows.

A missing file or a teacher of another vocabulary is told within seconds and leaves no run folder. What an earlier
stage is yet to make (``stage:NAME``) is looked for when that stage is done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.addons import TABLE as ADDONS
from tunesmith.data.look import check_sources
from tunesmith.data.prepare import Prepared
from tunesmith.errors import UserError
from tunesmith.models.load import load_tokenizer, positions
from tunesmith.models.vocabulary import check_same_vocabulary
from tunesmith.objectives import TABLE as OBJECTIVES
from tunesmith.objectives.sampled import Sampled
from tunesmith.recipe import Recipe
from tunesmith.recipe.parts import build
from tunesmith.rewards.base import RewardConfig, require_rows
from tunesmith.rewards.build import read_rewards
from tunesmith.rewards.model import Model
from tunesmith.rollouts.questions import sample_of
from tunesmith.run.folder import Run, never_began
from tunesmith.run.resolve import settled
from tunesmith.run.scoring import reward_run
from tunesmith.run.session import Language

LATER = "stage:"


def check_reachable(recipe: Recipe) -> None:
    """Refuse what can already be seen to be missing.

    Raises ``UserError``: ``not-a-run``, ``no-result``, ``teacher-without-words``, ``teacher-vocabulary``,
    ``no-reward-model``, ``no-reward-function``, ``missing-file``, and what reading files and asking judges raise.
    """
    objective: Any = build(OBJECTIVES, recipe.objective)
    if "teacher" in objective.beside and not objective.teacher.startswith(LATER):
        check_teacher(objective.teacher, recipe)
    for reward in _rewards(objective):
        if not isinstance(reward, Model):
            reward.ready(None)
        elif not reward.path.startswith(LATER):
            reward_run(reward.path)
    for part in recipe.addons:
        old = getattr(build(ADDONS, part), "data", None)
        if isinstance(old, list):
            check_sources(settled(recipe, "data", train=old, validation=0.0).data)


def check_teacher(name: str, recipe: Recipe) -> None:
    """Refuse a teacher that is not there, writes no text, or has another vocabulary than the student of ``recipe``."""
    tokenizer: Any
    if (Path(name) / "recipe.yaml").is_file() or never_began(Path(name)):
        run = Run.open(name).last_stage
        theirs = run.recipe
        if build(OBJECTIVES, theirs.objective).head() is not None:
            raise UserError(
                f"the teacher {name} writes no text: it has a head of the objective {theirs.objective.name}",
                allowed="a language model",
                code="teacher-without-words",
            )
        _ = run.artifact  # a run without a result says so
        tokenizer = Language.of(theirs).tokenizer
    else:
        positions(name)  # its config alone, which a hub that cannot be reached refuses soonest
        tokenizer = load_tokenizer(name)
    check_same_vocabulary(Language.of(recipe).tokenizer, tokenizer, name=name)


def check_scorable(recipe: Recipe, prepared: Prepared) -> None:
    """Refuse the first training row that a reward of ``recipe`` can never score, whatever its answers will be."""
    picky = [one for one in _rewards(build(OBJECTIVES, recipe.objective)) if _looks(one)]
    if not picky:
        return
    records = prepared.records(set(prepared.train.rows.tolist()))
    samples = [sample_of(record) for record in records.values()]
    for reward in picky:
        require_rows(reward.label(), samples, reward.refusal)


def _rewards(objective: Any) -> list[RewardConfig]:
    if not isinstance(objective, Sampled):
        return []
    return read_rewards([*objective.rewards, *objective.judge])


def _looks(reward: RewardConfig) -> bool:
    return type(reward).refusal is not RewardConfig.refusal
