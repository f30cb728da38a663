"""Tunesmith's side: a recipe opened as a user's run opens it, the saved adapter loaded, then the engine's own updates.

    python -m sidebyside.ours '{"material": …, "rows": …, "steps": …, "batch": …, "dtype": …, "objective": …}'

Float32 masters, clipping, optimizer and the write-back to the compute dtype are inside the measured time. With the
objective ``dpo`` the reference is asked inside it too, as in a first epoch, unless ``cached`` says that it has been
asked before. ``method`` is ``lora`` where it is not said; ``layers`` are those that are adapted, where not all;
``trunk_cache`` is the recipe's. Tokens are those of whole sequences: a beginning that answers share is counted once for
each.
"""

from __future__ import annotations

import json
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from sidebyside.child import Steps, timed
from sidebyside.material import ALPHA, MAX_TOKENS, RANK

FORMATS = {"sft": "messages", "dpo": "preference"}
RATES = {("sft", "lora"): 2e-4, ("sft", "full"): 5e-5, ("dpo", "lora"): 5e-5, ("dpo", "full"): 1e-6}
"""Learning rates by objective and method, on both sides."""


def main(options: dict[str, Any]) -> None:
    """Train ``steps`` updates and say what each was."""
    from tunesmith.engine import loop
    from tunesmith.models.flops import update_flops
    from tunesmith.run.trunk import kept_trunk

    job, session = make_job(options)
    told = Steps(about={"dtype": session.recipe.model.dtype, "driver": session.recipe.model.driver,
                        "tokens_per_microbatch": job.microbatch_tokens})  # fmt: skip
    if options.get("cached"):
        ask_before(job, options["steps"])
    with kept_trunk(session, job):
        for step in range(options["steps"]):
            update, seconds, cpu = timed(lambda step=step: loop.one_update(job, step))
            lengths = [length for example in job.feed.update(step) for length in whole_lengths(example)]
            told.loss.append(update.loss)
            told.norm.append(update.norm)
            told.tokens.append(sum(lengths))
            told.seconds.append(seconds)
            told.cpu.append(cpu)
            if objective_of(options) == "sft":
                told.flops.append(update_flops(session.model, lengths, update.units))
    told.say()


def objective_of(options: dict[str, Any]) -> str:
    """``sft`` or ``dpo``."""
    return str(options.get("objective", "sft"))


def method_of(options: dict[str, Any]) -> str:
    """``lora`` or ``full``."""
    return str(options.get("method", "lora"))


def rate_of(options: dict[str, Any]) -> float:
    """The learning rate."""
    return RATES[objective_of(options), method_of(options)]


def whole_lengths(example: Any) -> list[int]:
    """Tokens of each of the example's sequences, what they share included."""
    if not example.branches:
        return [len(example)]
    edges = [*example.branches, len(example)]
    return [edges[0] + end - start for start, end in pairwise(edges)]


def ask_before(job: Any, steps: int) -> None:
    """Ask the reference about every pair, as the first epoch does."""
    from tunesmith.engine import microbatch

    for step in range(steps):
        for piece in microbatch.cut(job.feed.update(step), job.microbatch_tokens):
            job.beside["reference"](piece, job.objective.collate(piece))


def make_job(options: dict[str, Any]) -> tuple[Any, Any]:
    """The engine's job for the recipe of ``options``, and the session it belongs to."""
    from tunesmith.data.loader import SequenceFeed
    from tunesmith.engine import loop, optimizers
    from tunesmith.engine.schedules import schedule
    from tunesmith.methods.folder import read_adapter
    from tunesmith.run.beside import beside_of
    from tunesmith.run.rows import prepare_with
    from tunesmith.run.session import Language, cache_folder, open_session

    chosen = recipe(options)
    language = Language.of(chosen)
    prepared = prepare_with(chosen, language.encoder)
    session = open_session(chosen, language)
    train = session.recipe.train
    if method_of(options) == "lora":
        _, tensors = read_adapter(Path(options["material"]) / "adapter")
        session.weights.set(tensors)
    # what an earlier child asked would make this one's first epoch a second one
    for kept in ("reference", "trunk"):
        shutil.rmtree(cache_folder() / kept, ignore_errors=True)
    job = loop.Job(
        policy=session.policy,
        attached=session.attached,
        objective=session.parts.objective,
        weights=session.weights,
        optimizer=optimizers.build(session.weights, train),
        schedule=schedule(train.schedule, total=options["steps"], warmup=train.warmup),
        feed=SequenceFeed(prepared.train, seed=0, batch_size=train.batch_size, shuffle=train.shuffle),
        config=train,
        folder=Path("unused"),
        steps=options["steps"],
        microbatch_tokens=int(train.tokens_per_microbatch),
        beside=beside_of(session, prepared.train),
    )
    return job, session


def recipe(options: dict[str, Any]) -> Any:
    """The run as a recipe; what is not named here is Tunesmith's default."""
    from tunesmith.recipe import Recipe

    material, objective = Path(options["material"]), objective_of(options)
    method: dict[str, Any] = {"name": method_of(options)}
    if method["name"] == "lora":
        method |= {"rank": RANK, "alpha": ALPHA, "targets": "all-linear"}
        method |= {"layers": options["layers"]} if "layers" in options else {}
    trunk = {"trunk_cache": options.get("trunk_cache", "off")}
    return Recipe.model_validate(
        {
            "model": {"base": str(material / "model"), "dtype": options["dtype"], "threads": 1, **trunk},
            "data": {
                "train": [{"path": str(material / options["rows"]), "format": FORMATS[objective]}],
                "validation": 0.0,
                "max_tokens": MAX_TOKENS,
                "overlong": "cut",
                "workers": 1,
            },
            "method": method,
            "objective": {"name": objective},
            "train": {
                "steps": options["steps"],
                "batch_size": options["batch"],
                "learning_rate": rate_of(options),
                "schedule": "constant",
                "warmup": 0,
                "weight_decay": 0.0,
                "clip": 1.0,
                "shuffle": False,
            },
        }
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
