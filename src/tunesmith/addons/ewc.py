"""Elastic weight consolidation: weights that old text depends on are held (Kirkpatrick et al. 2017, arXiv:1612.00796).

    P(θ) = w/2 · Σ_i F_i (θ_i − θ_i⁰)²                                                      (equation 3, F: ``fisher``)

F is measured once, at θ⁰, before the first update. As F is a token's, P is w times an estimate of the nats a token by
which the model has moved on that text: ``weight`` 1 weighs it like the loss itself, and 1 to 100 are usual, because a
diagonal sees but a part of it.

Several add-ons of this name hold several earlier tasks, each with its own rows (and each towards this run's start).

The trap: a LoRA adapter begins with B = 0, where a gradient of A is zero: its F holds B alone, and A is free. That is
right (A moves nothing while B is zero), and it is why the pull is felt through B.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.addons.around import Data
from tunesmith.addons.pull import pull, start_of
from tunesmith.contracts.addon import Added, Setting
from tunesmith.contracts.batch import Example
from tunesmith.errors import UserError
from tunesmith.recipe.base import PartConfig
from tunesmith.recipe.schema import NonNegative


class Ewc(PartConfig):
    """Holds the weights that old text depends on."""

    NAME: ClassVar[str] = "ewc"
    paper: ClassVar[str] = "https://arxiv.org/abs/1612.00796"
    use: ClassVar[str] = "Keep what the base knew where old rows may be read once, but not trained on again."

    weight: NonNegative = 5.0
    """Strength: 1 weighs the estimated nats a token that were moved on the old text like the loss itself."""
    data: Data = "auto"
    """The old text: `auto` (the base writes it) or a list of sources."""
    rows: Annotated[int, Field(gt=0)] = 128
    """Sequences that are read, at most."""

    def put(self, setting: Setting) -> Added:
        """One penalty an update; the Fisher information is kept in the run folder."""
        from tunesmith.addons.fisher import kept

        fisher = kept(setting, lambda: self._examples(setting))
        start = start_of(setting.weights)
        return Added(penalty=lambda: pull(setting.weights, start, weight=self.weight, stiffness=fisher))

    def _examples(self, setting: Setting) -> list[Example]:
        if setting.objective.head() is None:
            return setting.words(self.data)[: self.rows]
        if self.data == "auto":
            raise UserError(
                "a model with a task head writes no text of its own",
                got="add-on ewc, data: auto",
                allowed="data: a list of labelled sources of an earlier task",
                code="cannot-combine",
            )
        return setting.rows(self.data)[: self.rows]
