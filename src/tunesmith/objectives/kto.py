"""KTO: single answers, each wanted or not, valued against a reference point (Ethayarajh et al. 2024, eq. 8):

    L = E[ λ_y (1 − v) ],   v = σ(β (h − z)) where the answer is wanted, σ(β (z − h)) where it is not,

with ``h = log π(y|x)/π_ref(y|x)``. The reference point ``z = max(0, mean h(x_i, y_{i+1}))`` estimates KL(π ‖ π_ref)
from prompts with the answer of the next row of the update; no gradient goes through it. Each prompt is computed once
for both answers. ``form: apo-zero`` leaves it out (z = 0; D'Oosterlinck et al. 2024, eq. 7, unpaired).

The trap: ``z`` couples the rows of an update, so an update is one micro-batch, and one of a single row has no ``z``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.candidates import branched, compared
from tunesmith.data.collate import flatten
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError
from tunesmith.objectives.base import ObjectiveConfig, by_sequence

NAME = "kto"
WANTED = "wanted"
NONE = 1e-9
"""Beside a count that may be 0: the sum it divides is 0 then too."""
MEASURED = ("accuracy", "kl", "wanted_reward", "unwanted_reward")


class Kto(ObjectiveConfig):
    """Learn from single answers that are marked as wanted or not, against the model as training began."""

    NAME: ClassVar[str] = "kto"
    paper: ClassVar[str] = "Ethayarajh et al. 2024, KTO (arXiv 2402.01306)"
    formats: ClassVar[tuple[str, ...]] = ("unpaired",)
    unit: ClassVar[str] = "answers"
    beside: ClassVar[Mapping[str, Want]] = {"reference": Want(logprob=True)}
    decomposes: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = MEASURED
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"kl", "unwanted_reward"})

    form: Literal["kto", "apo-zero"] = "kto"
    """With the reference point, or without it (`apo-zero`)."""
    beta: Annotated[float, Field(gt=0.0)] = 0.1
    """How strongly the model is held to the reference."""
    wanted_weight: Annotated[float, Field(gt=0.0)] = 1.0
    """Weight of wanted answers. Where they are rare, raise it until both kinds weigh about the same in total."""
    unwanted_weight: Annotated[float, Field(gt=0.0)] = 1.0
    """Weight of unwanted answers."""

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """Nothing; rows of only one kind are a ``UserError``."""
        kinds = set()
        for record in records:
            kinds |= {one.score for one in record.candidates if len(record.candidates) == 1}
            if len(kinds) == 2:
                return {}
        if not kinds:  # reading the rows will say what is wrong with them
            return {}
        raise UserError(
            f"there is nothing to tell apart: all answers are {'wanted' if kinds == {1.0} else 'unwanted'}",
            allowed="rows with single answers, some marked as wanted and some as not",
            hint="Wanted answers alone are learned by sft, pairs by dpo (`tunesmith formats unpaired` shows columns).",
            code="one-class",
        )

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """The prompt, the answer, and whether it is wanted."""
        compared(record, at_least=1)
        score = record.candidates[0].score
        if len(record.candidates) != 1 or score is None:
            raise BadRow("the row has several answers, and the objective needs one that is wanted or not")
        return [branched(encoder.candidates(record), extras={WANTED: [score]})]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Each prompt with its own answer and that of the next example."""
        following = [*examples[1:], examples[0]]
        return flatten([_mismatched(one, other) for one, other in zip(examples, following, strict=True)])

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Answers of the update; of each kind, for its mean reward."""
        wanted = sum(float(one.extras[WANTED][0]) for one in examples)
        count = float(len(examples))
        return {
            NAME: count,
            "accuracy": count,
            "kl": count,
            "wanted_reward": wanted + NONE,
            "unwanted_reward": count - wanted + NONE,
        }

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The weighted loss of each answer, and measurements."""
        import torch

        reference = batch.beside["reference"].logprob
        assert outputs.logprob is not None
        assert reference is not None
        ratio, other = by_sequence(outputs.logprob - reference, batch).view(batch.examples, 2).unbind(1)
        wanted = batch.extras[WANTED].bool()
        point = other.detach().mean().clamp(min=0.0)
        still = torch.zeros_like(point) if self.form == "apo-zero" else point
        sign = 2.0 * wanted.to(ratio.dtype) - 1.0
        value = torch.sigmoid(self.beta * sign * (ratio - still))
        weight = torch.where(wanted, self.wanted_weight, self.unwanted_weight)
        rewards = self.beta * ratio.detach()
        right = (1.0 + sign * torch.sign(ratio.detach() - still)) / 2.0
        measured = (right, point.expand(batch.examples), rewards * wanted, rewards * ~wanted)
        pairs = zip(MEASURED, measured, strict=True)
        return [Term(NAME, weight * (1.0 - value)), *(Term(name, values, weight=0.0) for name, values in pairs)]


def _mismatched(one: Example, other: Example) -> Example:
    """``one`` with the answer of ``other`` beside its own."""
    import numpy as np

    answer = slice(other.branches[0], None)
    return replace(
        one,
        ids=np.concatenate([one.ids, other.ids[answer]]),
        trained=np.concatenate([one.trained, other.trained[answer]]),
        branches=(one.branches[0], len(one)),
    )
