"""What every reward's config has in common: a weight, a look at a row before training, and getting ready."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field

from tunesmith.contracts.reward import OpenScorer, Reward, Sample
from tunesmith.errors import UserError
from tunesmith.recipe.base import PartConfig

Seconds = Annotated[float, Field(gt=0.0)]


class RewardConfig(PartConfig):
    """Base of a reward's config: subclasses say what they score in ``score``."""

    weight: float = 1.0
    """What the reward is multiplied with in the sum; negative for a penalty."""

    def label(self) -> str:
        """The name its scores are shown under."""
        return type(self).part_name()

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """Scores ``[n]`` of the samples (see ``contracts.reward.Reward``)."""
        raise NotImplementedError

    def refusal(self, sample: Sample) -> str | None:
        """Why this row can never be scored, whatever the answer is (None: it can): found before training begins."""
        return None

    def ready(self, open_scorer: OpenScorer | None) -> Reward:
        """What scores; raises ``UserError`` now where it could not (a function that is missing, a silent server)."""
        return self


def named(sample: Sample, at: int) -> str:
    """How messages name a sample: its number and the beginning of its question."""
    prompt = " ".join(sample.prompt.split())
    return f"sample {at + 1} ('{prompt[:60]}{'…' if len(prompt) > 60 else ''}')"


def require_rows(name: str, samples: Sequence[Sample], refusal: Callable[[Sample], str | None]) -> None:
    """Raise ``UserError`` for the first of ``samples`` that the reward ``name`` can never score."""
    for at, sample in enumerate(samples):
        reason = refusal(sample)
        if reason:
            raise UserError(
                f"the reward {name} cannot score {named(sample, at)}: {reason}",
                hint="Mend or remove the row, or choose another reward.",
                code="unscorable-row",
            )


def require_scores(name: str, samples: Sequence[Sample], scores: object) -> list[float]:
    """``scores`` as one finite number a sample; a ``UserError`` that names reward and sample otherwise."""
    values = _as_list(scores)
    if values is None or len(values) != len(samples):
        raise UserError(
            f"the reward {name} gave something else than one number for each of {len(samples)} samples, "
            f"{named(samples[0], 0)} the first",
            got=_shape(scores, values),
            allowed=f"a list of {len(samples)} numbers",
            code="bad-reward",
        )
    numbers = []
    for at, value in enumerate(values):
        number = _as_number(value)
        if number is None or not math.isfinite(number):
            raise UserError(
                f"the reward {name} gave no finite number for {named(samples[at], at)}",
                got=repr(value)[:80],
                allowed="a finite number",
                code="bad-reward",
            )
        numbers.append(number)
    return numbers


def _as_list(scores: object) -> list[object] | None:
    """The items of any sized sequence (lists, arrays, tensors), else None."""
    if isinstance(scores, str | bytes | dict) or not hasattr(scores, "__len__"):
        return None
    try:
        return list(scores)  # type: ignore[call-overload]
    except TypeError:
        return None


def _as_number(value: object) -> float | None:
    if isinstance(value, str | bytes):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def _shape(scores: object, values: list[object] | None) -> str:
    return f"{len(values)} numbers" if values is not None else f"{type(scores).__name__} {repr(scores)[:80]}"
