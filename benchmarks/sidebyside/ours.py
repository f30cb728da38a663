"""Tunesmith's side: a recipe opened as a user's run opens it, the saved adapter loaded, then the engine's own updates.

    python -m sidebyside.ours '{"material": …, "rows": …, "steps": …, "batch": …, "dtype": …}'

Float32 masters, clipping, optimizer and the write-back to the compute dtype are inside the measured time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sidebyside.child import Steps, timed
from sidebyside.material import ALPHA, MAX_TOKENS, RANK


def main(options: dict[str, Any]) -> None:
    """Train ``steps`` updates and say what each was."""
    from tunesmith.engine import loop
    from tunesmith.models.flops import update_flops

    job, session = make_job(options)
    told = Steps(about={"dtype": session.recipe.model.dtype, "driver": session.recipe.model.driver,
                        "tokens_per_microbatch": job.microbatch_tokens})  # fmt: skip
    for step in range(options["steps"]):
        update, seconds, cpu = timed(lambda step=step: loop.one_update(job, step))
        lengths = [len(example) for example in job.feed.update(step)]
        told.loss.append(update.loss)
        told.norm.append(update.norm)
        told.tokens.append(update.tokens)
        told.seconds.append(seconds)
        told.cpu.append(cpu)
        told.flops.append(update_flops(session.model, lengths, update.units))
    told.say()


def make_job(options: dict[str, Any]) -> tuple[Any, Any]:
    """The engine's job for the recipe of ``options``, and the session it belongs to."""
    from tunesmith.data.loader import SequenceFeed
    from tunesmith.engine import loop, optimizers
    from tunesmith.engine.schedules import schedule
    from tunesmith.methods.folder import read_adapter
    from tunesmith.run.rows import prepare_with
    from tunesmith.run.session import Language, open_session

    chosen = recipe(options)
    language = Language.of(chosen)
    prepared = prepare_with(chosen, language.encoder)
    session = open_session(chosen, language)
    train = session.recipe.train
    _, tensors = read_adapter(Path(options["material"]) / "adapter")
    session.weights.set(tensors)
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
    )
    return job, session


def recipe(options: dict[str, Any]) -> Any:
    """The run as a recipe; what is not named here is Tunesmith's default."""
    from tunesmith.recipe import Recipe

    material = Path(options["material"])
    return Recipe.model_validate(
        {
            "model": {"base": str(material / "model"), "dtype": options["dtype"], "threads": 1},
            "data": {
                "train": [{"path": str(material / options["rows"]), "format": "messages"}],
                "validation": 0.0,
                "max_tokens": MAX_TOKENS,
                "overlong": "cut",
                "workers": 1,
            },
            "method": {"name": "lora", "rank": RANK, "alpha": ALPHA, "targets": "all-linear"},
            "train": {
                "steps": options["steps"],
                "batch_size": options["batch"],
                "learning_rate": 2e-4,
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
