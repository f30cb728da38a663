"""Experience replay: old rows, or text of the base's own, are learned beside the new ones (Robins 1995, Connection
Science 7(2), section 3; for language models Scialom et al. 2022, arXiv:2205.12393, section 3).

Further rows join every update (``share``), and the objective treats them like its own: one mean over all targets, so
``share`` is one of rows, and long old rows weigh more than short ones. Their loss is shown apart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.addons.around import Data, refuse_other_units, refuse_sampling
from tunesmith.addons.share import ShareFeed
from tunesmith.contracts.addon import Added, Setting
from tunesmith.recipe.base import PartConfig


class Replay(PartConfig):
    """Learns old rows, or the base's own text, beside the new ones."""

    NAME: ClassVar[str] = "replay"
    paper: ClassVar[str] = "https://arxiv.org/abs/2205.12393"
    use: ClassVar[str] = "Keep what the base knew: the simplest way, and mostly the best where old rows may be kept."

    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Share of every update's rows that are old; they are added to `train.batch_size`."""
    data: Data = "auto"
    """The old rows: `auto` (the base writes them) or a list of sources."""

    def put(self, setting: Setting) -> Added:
        """A feed with the old rows in it."""
        refuse_sampling(setting, self.NAME)
        if self.data == "auto":
            refuse_other_units(setting, self.NAME)
        found = setting.words("auto") if self.data == "auto" else setting.rows(self.data)
        rows = [replace(example, source=len(setting.sources)) for example in found]
        feed = ShareFeed(setting.feed, rows, share=self.share, seed=setting.seed, name=f"{self.NAME}-{rows[0].source}")
        return Added(feed=feed, sources=(self.NAME,))
