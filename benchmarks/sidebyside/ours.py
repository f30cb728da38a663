"""Tunesmith's side: a recipe opened as a user's run opens it, the saved adapter loaded, then the engine's own updates.

    python -m sidebyside.ours '{"material": …, "rows": …, "steps": …, "batch": …, "dtype": …, "objective": …}'

Float32 masters, clipping, optimizer and the write-back to the compute dtype are inside the measured time; so are the
answers that ``grpo`` samples and, with ``dpo``, the asking of the reference, as in a first epoch, unless ``cached``
says that it has been asked before. ``method`` is ``lora`` where it is not said, ``qlora`` on a base packed as NF4;
``layers`` are those that are adapted, where not all; ``trunk_cache`` and ``checkpointing`` are the recipe's. With
``recorded``, a file, answers are not sampled but those that the other side sampled. Tokens are those of whole
sequences: a beginning that answers share is counted once for each.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidebyside import prompts
from sidebyside.child import Steps, timed
from sidebyside.job import Opened, opened
from sidebyside.material import ALPHA, MAX_TOKENS, RANK

if TYPE_CHECKING:
    from tunesmith.contracts.sampler import Answer, Ask

FORMATS = {"sft": "messages", "dpo": "preference", "classify": "labelled", "grpo": "messages"}
RATES = {
    ("sft", "lora"): 2e-4, ("sft", "qlora"): 2e-4, ("sft", "full"): 5e-5,
    ("dpo", "lora"): 5e-5, ("dpo", "full"): 1e-6,
    ("classify", "lora"): 2e-4, ("classify", "full"): 2e-5,
    ("grpo", "lora"): 1e-4, ("grpo", "full"): 1e-6,
}  # fmt: skip
"""Learning rates by objective and method, on both sides."""
MINI_EPOCHS = 2
"""Updates made of the same answers in the gate of ``grpo``: in the second the policy is not the one that sampled."""


def main(options: dict[str, Any]) -> None:
    """Train ``steps`` updates and say what each was."""
    from tunesmith.engine import loop
    from tunesmith.models.flops import update_flops
    from tunesmith.run.trunk import kept_trunk

    found = make_job(options)
    job, session = found.job, found.session
    told = Steps(about={"dtype": session.recipe.model.dtype, "driver": session.recipe.model.driver,
                        "tokens_per_microbatch": job.microbatch_tokens})  # fmt: skip
    if options.get("cached"):
        ask_before(job, options["steps"])
    if "recorded" in options:
        replay(job, Path(options["recorded"]))
    with kept_trunk(session, job):
        for step in range(options["steps"]):
            update, seconds, cpu = timed(lambda step=step: loop.one_update(job, step))
            lengths = [length for example in job.feed.update(step) for length in whole_lengths(example)]
            told.loss.append(update.loss)
            told.norm.append(update.norm)
            told.tokens.append(sum(lengths))
            told.seconds.append(seconds)
            told.cpu.append(cpu)
            if objective_of(options) in ("sft", "classify"):
                told.flops.append(update_flops(session.model, lengths, update.units))
    told.say()


def objective_of(options: dict[str, Any]) -> str:
    """``sft``, ``dpo``, ``classify`` or ``grpo``."""
    return str(options.get("objective", "sft"))


def method_of(options: dict[str, Any]) -> str:
    """``lora``, ``qlora`` or ``full``."""
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


def replay(job: Any, file: Path) -> None:
    """Let the job's prompts be answered from ``file``: lists of token ids, in the order they were sampled in."""
    from dataclasses import replace

    tools = job.feed.tools
    job.feed.tools = replace(tools, asking=replace(tools.asking, sampler=Recorded(json.loads(file.read_text()))))


class Recorded:
    """A sampler (``contracts.sampler.Sampler``) whose answers were sampled elsewhere."""

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        self.answers = iter(answers)

    def sample(self, asks: Sequence[Ask], *, logprobs: bool = False) -> list[list[Answer]]:
        """The next answers, as many as are asked for."""
        from tunesmith.contracts.sampler import Answer

        return [[Answer(list(next(self.answers)), seed=seed) for seed in ask.seeds] for ask in asks]


def make_job(options: dict[str, Any]) -> Opened:
    """The engine's job for the recipe of ``options``, which begins with the saved adapter."""
    from tunesmith.methods.folder import read_adapter
    from tunesmith.run.session import cache_folder

    # what an earlier child asked would make this one's first epoch a second one
    for kept in ("reference", "trunk"):
        shutil.rmtree(cache_folder() / kept, ignore_errors=True)
    start = None
    if method_of(options) != "full":
        _, tensors = read_adapter(Path(options["material"]) / "adapter")
        start = {name: tensor for name, tensor in tensors.items() if "lora_" in name}
    return opened(recipe(options), steps=options["steps"], start=start)


def recipe(options: dict[str, Any]) -> Any:
    """The run as a recipe; what is not named here is Tunesmith's default."""
    from tunesmith.recipe import Recipe

    material, name = Path(options["material"]), objective_of(options)
    objective = {"name": name, **(grpo(options) if name == "grpo" else {})}
    return Recipe.model_validate(
        {
            "model": {"base": str(material / "model"), "dtype": options["dtype"], "threads": 1, **model(options)},
            "data": {
                "train": [{"path": str(material / options["rows"]), "format": FORMATS[name]}],
                "validation": 0.0,
                "max_tokens": MAX_TOKENS,
                "overlong": "cut",
                "workers": 1,
            },
            "method": method(options),
            "objective": objective,
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
            # text of the base's own is for exams, of which there are none here
            "retention": "none",
        }
    )


def model(options: dict[str, Any]) -> dict[str, Any]:
    """What is special about the model of a cell."""
    named = {name: options[name] for name in ("trunk_cache", "checkpointing") if name in options}
    return {**named, **({"quantize": "nf4"} if method_of(options) == "qlora" else {})}


def method(options: dict[str, Any]) -> dict[str, Any]:
    """The method of a cell."""
    if method_of(options) == "full":
        return {"name": "full"}
    some = {"layers": options["layers"]} if "layers" in options else {}
    return {"name": "lora", "rank": RANK, "alpha": ALPHA, "targets": "all-linear", **some}


def grpo(options: dict[str, Any]) -> dict[str, Any]:
    """TRL's defaults in our words: DAPO's division by all tokens, no divergence from the start."""
    return {
        "variant": "grpo",
        "normalise": "tokens",
        "kl": 0.0,
        "measure_kl": False,
        "answers": prompts.ANSWERS,
        "max_new_tokens": prompts.NEW_TOKENS,
        "mini_epochs": MINI_EPOCHS if "recorded" in options else 1,
        "rewards": [{"name": "python", "function": "sidebyside.prompts.own_rewards", "batch": True}],
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
