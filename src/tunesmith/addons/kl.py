"""Staying close to the base by its distributions, token by token over the whole vocabulary,

    forward   KL(base ‖ tuned) = Σ_v p⁰(v) (log p⁰(v) − log p(v))        keeps all that the base would say
    reverse   KL(tuned ‖ base) = Σ_v p(v) (log p(v) − log p⁰(v))         keeps to what the base would say

summed over targets and divided by their number. Forward on old text is learning without forgetting (Li & Hoiem 2016,
arXiv:1606.09282, eq. 3, temperature 1), reverse is the regulariser of RLHF (Ziegler et al. 2019, arXiv:1909.08593).

``data: batch`` measures it on the targets that are trained; otherwise on rows of their own, which join every update by
``share``, are read in turn, and carry nothing but this. The base is the objectives' ``reference``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from tunesmith.addons.around import (
    Around,
    Data,
    by_rows,
    copies,
    refuse_other_units,
    refuse_sampling,
    refuse_tasks,
    refused,
    sources_of,
)
from tunesmith.addons.share import ShareFeed
from tunesmith.contracts.addon import Added, Setting
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Objective, Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.objectives.divergence import divergence
from tunesmith.recipe.base import PartConfig
from tunesmith.recipe.schema import NonNegative, Share

if TYPE_CHECKING:
    import torch

    TokenFn = Callable[[torch.Tensor, slice, Batch], torch.Tensor]

NAME = "kl"
OWN = -1
"""The data source of rows that carry nothing but this."""
Direction = Literal["forward", "reverse"]


class Kl(PartConfig):
    """Keeps the model's distributions close to the base's."""

    NAME: ClassVar[str] = NAME
    paper: ClassVar[str] = "https://arxiv.org/abs/1606.09282"
    use: ClassVar[str] = "Keep the base's behaviour at the cost of a second forward pass."

    weight: NonNegative = 0.1
    """What a nat of divergence a token weighs beside the loss."""
    data: Literal["batch"] | Data = "batch"
    """Where it is measured: on the `batch`, on text the base writes (`auto`), or on a list of sources."""
    share: Share = 0.2
    """With rows of its own: their share of every update's rows, which are added to `train.batch_size`."""
    direction: Direction = "forward"
    """`forward` is KL(base, tuned), `reverse` KL(tuned, base)."""

    def put(self, setting: Setting) -> Added:
        """A term of the objective; and rows of its own where it is not measured on the batch."""
        refuse_tasks(setting, NAME)
        refuse_sampling(setting, NAME)
        if copies(setting.objective) > 1:
            raise refused(setting, NAME, "one of r-drop and kl")
        if self.data == "batch":
            return Added(Close(setting.objective, self).objective)
        refuse_other_units(setting, NAME)
        rows = [replace(example, source=OWN) for example in setting.words(self.data)]
        feed = ShareFeed(setting.feed, rows, share=self.share, seed=setting.seed, name=NAME)
        return Added(Close(setting.objective, self).objective, feed)


class Close(Around):
    """An objective with the divergence from the base beside it."""

    def __init__(self, inner: Objective, config: Kl) -> None:
        super().__init__(inner)
        self.config = config
        self.alone = config.data != "batch"
        self.want = replace(inner.want, token_fn=self._token_fn(inner.want.token_fn))
        reference = inner.beside.get("reference", Want(logprob=False))
        self.beside: Mapping[str, Want] = {**inner.beside, "reference": replace(reference, hidden=True)}

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """The inner counts, of its own rows; and the targets that are compared."""
        theirs = [one for one in examples if not self.alone or one.source != OWN]
        ours = [one for one in examples if not self.alone or one.source == OWN]
        return {**self.inner.counts(theirs), NAME: float(sum(one.targets for one in ours)) or 1.0}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The inner terms, of its own rows; and the divergence summed over each example's targets."""
        assert outputs.values is not None
        inner = outputs.values[:, :-1] if outputs.values.shape[1] > 1 else None
        terms = self.inner.loss(replace(outputs, values=inner), batch)
        apart = by_rows(outputs.values[:, -1], batch)
        if self.alone:
            ours = sources_of(batch) == OWN
            terms = [replace(term, values=term.values * ~ours) for term in terms]
            apart = apart * ours
        return [*terms, Term(NAME, apart, self.config.weight)]

    def _token_fn(self, inner: TokenFn | None) -> TokenFn:
        import torch

        def token_fn(logits: torch.Tensor, rows: slice, batch: Batch) -> torch.Tensor:
            base = batch.beside["reference"]
            assert base.hidden is not None and base.logits is not None
            with torch.no_grad():
                other = base.logits(base.hidden[rows])
            logs = (torch.log_softmax(one, dim=-1) for one in (other, logits))
            value = divergence(*logs, kind=self.config.direction)[:, None]
            return value if inner is None else torch.cat([inner(logits, rows, batch), value], dim=1)

        return token_fn
