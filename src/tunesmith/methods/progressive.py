"""Progressive unfreezing: the head first, then the top of the model, then all of it, each with its own rate.

Gradual unfreezing (Howard & Ruder 2018, arXiv:1801.06146, section 3.3): layers that are trained late have a sensible
gradient by then, and forget less. It is a programme of ordinary stages, so each phase is trained, saved, resumed and
proven like any run; ``stages`` in a recipe writes the same out by hand, with any methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field
from torch import nn

from tunesmith.contracts.method import Attached
from tunesmith.errors import UserError
from tunesmith.recipe.base import Config, PartConfig
from tunesmith.recipe.schema import TrainConfig


class Phase(Config):
    """One phase: what is trained, how fast, for how long."""

    train: str = "all"
    """`head`, `all`, or `top-N` (the last N blocks and the head). Where a language model's head shares its weight with
    the embeddings, it cannot be trained alone: there `head` is `top-1`, and the run says so."""
    learning_rate: Annotated[float, Field(gt=0.0)]
    """Peak learning rate of the phase."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the recipe's epochs or updates."""
    plateau: Annotated[int, Field(gt=0)] | None = None
    """End the phase early after so many evaluations without improvement; otherwise it runs its length."""


class Progressive(PartConfig):
    """Unfreezes the model from the top in phases, each with its own learning rate."""

    NAME: ClassVar[str] = "progressive"
    paper: ClassVar[str] = "https://arxiv.org/abs/1801.06146"
    use: ClassVar[str] = (
        "Few rows and a new head: each part of the model is only moved once what stands on it is sensible."
    )
    usual_rate: ClassVar[float] = 1e-4

    phases: Annotated[list[Phase], Field(min_length=1)] = [
        Phase(train="head", learning_rate=1e-3, share=0.2),
        Phase(train="top-3", learning_rate=1e-4, share=0.3),
        Phase(train="all", learning_rate=1e-5, share=0.5),
    ]
    """The phases in turn."""
    optimizer_state: Annotated[str, Field(pattern="^(carry|fresh)$")] = "carry"
    """`carry` keeps the optimizer's state of parameters that were trained before, `fresh` starts it anew."""

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> Attached:
        """Refused (``programme``): a programme of stages is not one state of a model."""
        raise UserError(
            "progressive is a programme of stages, which cannot be attached at once",
            hint="`tunesmith train` runs it; in a loop of your own attach `freeze`, then `full`.",
            code="programme",
        )

    @property
    def trains_head_alone(self) -> bool:
        """Whether a phase is `head`."""
        return any(phase.train == "head" for phase in self.phases)

    def on_tied_head(self) -> Self:
        """The same where the head cannot be trained alone, because it is the embeddings: `top-1` instead of `head`."""
        phases = [
            phase.model_copy(update={"train": "top-1"}) if phase.train == "head" else phase for phase in self.phases
        ]
        return self.model_copy(update={"phases": phases})

    def check_depth(self, blocks: int) -> None:
        """Raises ``UserError`` ``not-enough-layers`` where a phase trains more blocks than the model has."""
        for phase in self.phases:
            top = phase.train.removeprefix("top-")
            if top.isdigit() and int(top) > blocks:
                raise UserError(
                    "a phase of method.phases trains more blocks than the model has",
                    got=phase.train,
                    allowed=f"top-1 to top-{blocks}, head, all",
                    hint=f"For example method.phases='[{{train: top-1, learning_rate: {phase.learning_rate:g}}}, "
                    "{train: all, learning_rate: 1e-5}]'.",
                    code="not-enough-layers",
                )

    def stages(self, train: TrainConfig) -> list[dict[str, Any]]:
        """The phases as stages of a recipe whose training is ``train``."""
        return [self._stage(number, phase, train) for number, phase in enumerate(self.phases)]

    def _stage(self, number: int, phase: Phase, train: TrainConfig) -> dict[str, Any]:
        length: dict[str, Any] = {"epochs": train.epochs * phase.share}
        if train.steps is not None:
            length = {"steps": max(1, round(train.steps * phase.share))}
        stopping = None if phase.plateau is None else {"patience": phase.plateau}
        return {
            "name": f"{number + 1}-{phase.train}",
            "method": _method(phase.train),
            "train": {
                **length,
                "learning_rate": phase.learning_rate,
                "early_stopping": stopping,
                "optimizer_state": self.optimizer_state if number else "fresh",
            },
        }


def _method(what: str) -> dict[str, Any]:
    """The method that trains ``what``; raises ``UserError`` ``unknown-phase``."""
    if what == "all":
        return {"name": "full"}
    if what == "head":
        return {"name": "freeze", "top_layers": 0, "head": True}
    if what.startswith("top-") and what[4:].isdigit() and int(what[4:]) > 0:
        return {"name": "freeze", "top_layers": int(what[4:])}
    raise UserError(
        "unknown phase in method.phases", got=f"'{what}'", allowed=["head", "top-N", "all"], code="unknown-phase"
    )
