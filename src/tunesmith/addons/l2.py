"""L2-SP: every trained value is pulled back to where it began (Li, Grandvalet & Davoine 2018, arXiv:1802.01483, eq. 5),

    P(θ) = w/2 · Σ_i (θ_i − θ_i⁰)².

θ⁰ is the start of *this* run: the base's weights where they are trained, an adapter's own start where one is.
The trap: of LoRA the factors are pulled, not their product. A new output layer is pulled to its random start.
"""

from __future__ import annotations

from typing import ClassVar

from tunesmith.addons.pull import pull, start_of
from tunesmith.contracts.addon import Added, Setting
from tunesmith.recipe.base import PartConfig
from tunesmith.recipe.schema import NonNegative


class L2(PartConfig):
    """Pulls trained weights back to where they began."""

    NAME: ClassVar[str] = "l2"
    paper: ClassVar[str] = "https://arxiv.org/abs/1802.01483"
    use: ClassVar[str] = "Few rows and full fine-tuning: stay near the base, whatever it needs its weights for."

    weight: NonNegative = 0.01
    """Strength of the pull, per squared unit of weight."""

    def put(self, setting: Setting) -> Added:
        """One penalty an update."""
        start = start_of(setting.weights)
        return Added(penalty=lambda: pull(setting.weights, start, weight=self.weight))
