"""``tunesmith align``: supervised training, then learning from preferences or rewards, as stages of one recipe.

    dpo    sft -> dpo on pairs of answers
    ppo    sft -> reward model on pairs -> ppo from sft, raising that model's score (and rewards that are named)
    grpo   sft -> grpo, raising rewards that are named (with pairs: a reward model's score as well)

Each stage is a whole run with its own proofs and exam. What only the stages together tell is measured afterwards: how
well the task of the first stage in words is still done after each of the others, on the same held-out rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tunesmith.data.look import check_sources
from tunesmith.engine.sinks.jsonl import read
from tunesmith.errors import UserError
from tunesmith.evaluation.answers import evaluate_answers
from tunesmith.evaluation.comparison import as_dict
from tunesmith.evaluation.loss import evaluate_loss
from tunesmith.events import Event, Sink, fan_out
from tunesmith.objectives import TABLE as OBJECTIVES
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import validated
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import SourceConfig
from tunesmith.rewards.build import read_rewards
from tunesmith.run.folder import Run
from tunesmith.run.judge import Marks, compared, generator
from tunesmith.run.programme import expanded, origin_of, stage_recipes
from tunesmith.run.rows import choose, prepare_with
from tunesmith.run.session import Language
from tunesmith.run.stages import train
from tunesmith.run.use import open_run

FILE = "align.json"
SLOWER = 0.25
"""Learning rate of the stages after the first, as a share of the recipe's: they refine a model that can already do
the task."""
Programme = Literal["dpo", "ppo", "grpo"]
OWN: Mapping[str, tuple[str, ...]] = {"terms": ("accuracy", "margin"), "rewards": ("reward", "judge_", "answer_tokens")}
"""What a stage is judged by on its own rows (beginnings of names), by how its objective is judged."""


def align(
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    sinks: tuple[Sink, ...] = (),
    switch_proofs_off: bool = False,
) -> Run:
    """Train the stages of ``recipe`` (``planned`` writes the usual ones) and say what each did: ``align`` in
    ``report.json``, a list of stages as :func:`table` gives it.

    The rows and rewards of all stages are looked at before the first begins. Raises as ``train`` does, and
    ``UserError`` ``no-stages``.
    """
    check(recipe)
    run = train(recipe, out=out, resume=resume, sinks=sinks, switch_proofs_off=switch_proofs_off)
    if run.finished:
        run.write("report.json", {**run.summary(), "align": table(run, emit=fan_out(*sinks))})
    return run


def planned(
    recipe: Recipe,
    programme: Programme,
    *,
    preferences: Sequence[str] = (),
    rewards: Sequence[Mapping[str, Any] | str] = (),
) -> Recipe:
    """``recipe`` with the usual stages of ``programme``; its own objective is the first of them.

    ``preferences`` are files of pairs, ``rewards`` parts or names. Raises ``UserError``: ``cannot-combine``,
    ``no-preferences``, ``no-reward``.
    """
    if recipe.stages:
        raise UserError(
            "the recipe has stages of its own",
            got=f"--with {programme}",
            hint="Give one or the other.",
            code="cannot-combine",
        )
    if _judged(recipe) != "tokens":
        raise UserError(
            "the first stage teaches the task in words",
            got=f"objective {recipe.objective.name}",
            allowed="sft or pretrain",
            code="cannot-combine",
        )
    _require(programme, preferences, rewards)
    found: list[dict[str, Any]] = [{"name": "sft"}]
    if programme == "dpo":
        found.append({"name": "dpo", "start": "sft", **_on_pairs(recipe, preferences, "dpo", slower=True)})
    else:
        summed = [one.model_dump(exclude_unset=True) | {"name": one.part_name()} for one in _rewards(rewards)]
        if preferences:
            found.append({"name": "reward", "start": "sft", **_on_pairs(recipe, preferences, "reward", slower=False)})
            summed.insert(0, {"name": "model", "path": "stage:reward"})
        objective = {"name": programme, "rewards": summed, "max_new_tokens": recipe.evaluate.max_new_tokens}
        rate = {"learning_rate": SLOWER * recipe.train.learning_rate}
        found.append({"name": programme, "start": "sft", "objective": objective, "train": rate})
    return validated(Recipe, recipe.model_dump() | {"stages": found})


def check(recipe: Recipe) -> None:
    """Find what a later stage would stumble over: files that cannot be read, rewards that there are not.

    Raises ``UserError``: ``no-stages``, and what reading them raises.
    """
    if not recipe.stages:
        raise UserError(
            "alignment is a recipe of stages, and this one has none",
            hint="Give it `stages:`, or let the usual ones be written: --with dpo, ppo or grpo.",
            code="no-stages",
        )
    for stage in stage_recipes(expanded(recipe)):
        check_sources(stage.data)
        objective = build(OBJECTIVES, stage.objective)
        if objective.samples:
            read_rewards([*objective.rewards, *objective.judge])


def _require(programme: Programme, preferences: Sequence[str], rewards: Sequence[Any]) -> None:
    if programme == "dpo" and rewards:
        raise UserError("dpo learns from pairs, not from rewards", got="--reward", code="cannot-combine")
    if programme == "dpo" and not preferences:
        raise UserError(
            "dpo needs pairs of answers",
            hint="Name a file with --preferences; `tunesmith make` makes pairs.",
            code="no-preferences",
        )
    if not preferences and not rewards:
        raise UserError(
            f"{programme} needs something that says how good an answer is",
            allowed="--reward NAME (`tunesmith rewards`), or --preferences FILE to train a reward model on",
            code="no-reward",
        )


def _rewards(given: Sequence[Mapping[str, Any] | str]) -> Sequence[Any]:
    return read_rewards(list(given)) if given else []


def _on_pairs(recipe: Recipe, preferences: Sequence[str], objective: str, *, slower: bool) -> dict[str, Any]:
    """A stage on other rows than the recipe's; of these a share is held out."""
    sources = [SourceConfig(path=path).model_dump() for path in preferences]
    share = recipe.data.validation if isinstance(recipe.data.validation, float) else 0.1
    rate = {"learning_rate": SLOWER * recipe.train.learning_rate} if slower else {}
    return {"objective": {"name": objective}, "data": {"train": sources, "validation": share}, "train": rate}


def table(run: Run, *, emit: Sink) -> list[dict[str, Any]]:
    """What each stage of a finished run did; kept in its folder.

    A stage is ``{stage, objective, start, own, task, kl, forgetting, proofs, seconds}``: ``own`` are its measurements
    on its own held-out rows, ``task`` those on the rows of the first stage in words, with the change since that stage
    (its own: since the base), ``kl`` the divergence at its last rollout in nats an answer, and ``forgetting`` since the
    base.
    """
    kept = run.read(FILE)
    if kept:
        found: list[dict[str, Any]] = kept["stages"]
        return found
    recipes = stage_recipes(run.recipe)
    names = [stage.name for stage in recipes]
    stages = [Run(run.stage_folder(number, name)) for number, name in enumerate(names)]
    taught = next((one for one, recipe in zip(stages, recipes, strict=True) if _judged(recipe) == "tokens"), None)
    lines = []
    for number, (stage, recipe) in enumerate(zip(stages, recipes, strict=True)):
        origin = origin_of(run.recipe, number, names)
        lines.append(
            {
                "stage": recipe.name,
                "objective": recipe.objective.name,
                "start": "base" if origin is None else names[origin],
                "own": _own(recipe, stage.summary()["changes"].get("task", {})),
                "task": {} if taught is None else _task(taught, stage, emit=emit),
                "kl": _divergence(stage),
                "forgetting": None if taught is None else _forgotten(taught, stage),
                "proofs": sum(proof["passed"] is True for proof in stage.summary()["proofs"]),
                "seconds": stage.summary()["seconds"],
            }
        )
    run.write(FILE, {"stages": lines})
    return lines


def _own(recipe: Recipe, changes: Mapping[str, Any]) -> dict[str, Any]:
    begins = OWN.get(_judged(recipe), ())
    return {name: one for name, one in changes.items() if name.startswith(begins)} if begins else {}


def _judged(recipe: Recipe) -> str:
    return str(build(OBJECTIVES, recipe.objective).judged)


def _task(first: Run, stage: Run, *, emit: Sink) -> dict[str, Any]:
    """The exam of the stage ``first`` after ``stage``; nothing where that writes no words."""
    before = Marks.from_dict(first.read("eval/after.json"))
    if stage.folder == first.folder:
        at_first = Marks.from_dict(first.read("eval/before.json"))
        return _words(as_dict(compared(at_first, before)))
    if build(OBJECTIVES, stage.recipe.objective).head() is not None:
        return {}
    emit(Event("phase", 0, {"text": f"the task of {first.recipe.name}, after {stage.recipe.name}"}))
    asked = first.recipe
    encoder, objective = Language.of(asked).encoder, build(OBJECTIVES, asked.objective)
    prepared, session = prepare_with(asked, encoder), open_run(stage)
    tokens = int(asked.train.tokens_per_microbatch)
    loss = evaluate_loss(session.policy, objective, list(prepared.validation), tokens_per_microbatch=tokens)
    prompts, answers = [], None
    if asked.evaluate.prompts and asked.objective.name != "pretrain":
        prompts = choose(prepared.validation_records, encoder, asked.evaluate.prompts, seed=asked.seed)
    if prompts:
        own = generator(session, max_new_tokens=asked.evaluate.max_new_tokens)
        answers = evaluate_answers(own, prompts, decode=session.encoder.decode)
    return _words(as_dict(compared(before, Marks(loss, answers, None))))


def _words(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Loss, and the answers' metrics, of a comparison."""
    loss = {"nll": changes["task"]["nll"]} if "nll" in changes.get("task", {}) else {}
    return {**loss, **changes.get("answers", {})}


def _forgotten(first: Run, stage: Run) -> dict[str, Any] | None:
    """Nats a token lost on the base's own text since before the stage ``first``."""
    before, after = (
        Marks.from_dict(one.read(f"eval/{name}.json")) for one, name in ((first, "before"), (stage, "after"))
    )
    if before.retention is None or after.retention is None:
        return None
    changes = as_dict(compared(Marks(None, None, before.retention), Marks(None, None, after.retention)))
    found: dict[str, Any] | None = changes["retention"]["nll"]["change"]
    return found


def _divergence(stage: Run) -> float | None:
    rollouts = [event for event in read(stage.events) if event["kind"] == "rollout"]
    return rollouts[-1].get("kl") if rollouts else None
