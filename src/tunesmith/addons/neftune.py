"""NEFTune: uniform noise on the embeddings of training text (Jain et al. 2023, arXiv:2310.05914, algorithm 1),

    X ← X + (α / √(L d)) ε,      ε ~ Uniform(−1, 1),

with L the tokens of the sequence a token stands in and d the width, so that the noise of a sequence has the same length
whatever its own is. Only while training: what is measured and generated is without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from tunesmith.contracts.addon import Added, Setting
from tunesmith.contracts.batch import Batch, Layout
from tunesmith.recipe.base import PartConfig

if TYPE_CHECKING:
    import torch


class Neftune(PartConfig):
    """Adds noise to the embeddings of training text."""

    NAME: ClassVar[str] = "neftune"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.05914"
    use: ClassVar[str] = "Instruction tuning on few rows: less overfitting, longer answers."

    alpha: Annotated[float, Field(gt=0.0)] = 5.0
    """Size of the noise; 5 to 15 are usual."""

    def put(self, setting: Setting) -> Added:
        """Hooks on the model; nothing of the run changes."""
        policy: Any = setting.policy
        noise = _Noise(self.alpha)
        policy.register_forward_pre_hook(noise.look)
        policy.model.get_input_embeddings().register_forward_hook(noise.add)
        return Added()


class _Noise:
    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self._layout: Layout | None = None

    def look(self, policy: Any, arguments: tuple[Any, ...]) -> None:
        """Remember the sequences that the next embeddings are of."""
        batch = arguments[0]
        self._layout = batch.main.layout if isinstance(batch, Batch) else None

    def add(self, embedding: Any, _: Any, x: torch.Tensor) -> torch.Tensor | None:
        """``x [B, T, d]`` with noise, in training mode only."""
        import torch

        if not embedding.training or self._layout is None:
            return None
        size = self.alpha * spread(self._layout, x.shape[0], x.shape[1]).to(x.device)
        noise = (torch.rand_like(x, dtype=torch.float32) * 2.0 - 1.0) * size[..., None] / x.shape[-1] ** 0.5
        return x + noise.to(x.dtype)


def spread(layout: Layout, rows: int, columns: int) -> torch.Tensor:
    """1/√L of every token ``[rows, columns]``, 0 for padding.

    L counts a shared beginning; that of the beginning itself is its longest sequence's. Segments stand one after the
    other in one row, or each in a row of its own (padded).
    """
    import torch

    whole = list(layout.lengths)
    for segment, parent in enumerate(layout.parents or ()):
        if parent >= 0:
            whole[segment] += layout.lengths[parent]
            whole[parent] = max(whole[parent], whole[segment])
    lengths = torch.tensor(layout.lengths)
    scale = torch.tensor(whole, dtype=torch.float32).rsqrt()
    found = torch.zeros(rows, columns)
    if rows == len(whole) and columns == max(layout.lengths):
        return torch.where(torch.arange(columns)[None] < lengths[:, None], scale[:, None], found)
    flat = scale.repeat_interleave(lengths)
    found[0, : len(flat)] = flat
    return found
