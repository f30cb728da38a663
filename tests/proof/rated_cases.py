"""Cases of objectives that compare answers, and defects of such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.families import tiny
from tests.proof.conftest import tokenizer
from tests.tiny_task import tiny_task

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Candidate, Message, Record
from tunesmith.contracts.policy import Outputs
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.store import example_of
from tunesmith.engine.beside import Live, Reference
from tunesmith.engine.weights import Weights
from tunesmith.methods.lora import Lora
from tunesmith.models import attention
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.dpo import Dpo
from tunesmith.objectives.kto import Kto
from tunesmith.proof.base import Case
from tunesmith.recipe.schema import TrainConfig

ANSWERS = (
    ("Name a colour.", "It is blue.", "It is blurred."),
    ("Count to three.", "One, two, three.", "Three, two, one, and then some more of it all."),
    ("What is the capital of a country that has none?", "There is no such city.", "There is one."),
)


def records(*, marked: bool = False) -> dict[int, Record]:
    found = {}
    for row, (question, *answers) in enumerate(ANSWERS):
        candidates = tuple(Candidate((Message("assistant", text),)) for text in answers)
        if marked:
            candidates = (replace(candidates[row % 2], score=float(row % 2 == 0)),)
        found[row] = Record(messages=(Message("user", question),), candidates=candidates)
    return found


def rated_case(
    objective: Any,
    *,
    method: Any = None,
    family: str = "llama",
    dtype: torch.dtype = torch.float32,
    driver: Any = "flat",
) -> Case:
    head = objective.head()
    model = tiny(family) if head is None else tiny_task(family, head)
    method = method or Lora(rank=4, alpha=8.0)
    attached = method.attach(model, heads=[] if head is None else ["score"])
    weights = Weights(attached.groups())
    model.to(dtype)
    weights.bind()
    encoder = ChatEncoder.build(tokenizer())
    rows = records(marked=isinstance(objective, Kto))
    examples = [example_of(one, row) for row, record in rows.items() for one in objective.encode(record, encoder)]
    policy = CausalPolicy(model, driver)
    case = Case(policy, method, attached, weights, objective, encoder, TrainConfig(learning_rate=1e-2), examples, rows)
    return replace(case, beside=beside_of(case))


def beside_of(case: Case) -> Mapping[str, Any]:
    """As a run makes it: the adapter off, or what was asked before training."""
    if not case.objective.beside:
        return {}
    if not case.objective.decomposes:
        return {"reference": Live(case.policy, case.objective.want, case.attached.off)}
    if case.attached.artifact == "adapter":
        return {"reference": Reference(case.policy, original=case.attached.off)}
    found = Reference(case.policy)
    found.ask([([one], case.objective.collate([one])) for one in case.windows])
    return {"reference": found}


class Other:
    """A reference of another run."""

    def __init__(self) -> None:
        self.policy = CausalPolicy(tiny("llama", seed=9), "flat")

    def __call__(self, _: Sequence[Example], batch: Batch) -> Outputs:
        with torch.no_grad():
            return self.policy(batch, Dpo().want)


def another_reference(_: pytest.MonkeyPatch) -> Case:
    case = rated_case(Dpo())
    return replace(case, beside={"reference": Other()})


def leaking_answers(patch: pytest.MonkeyPatch) -> Case:
    """Every token sees a little of everything in the batch."""
    case = rated_case(Dpo())
    sound = attention.segment_attention

    def leaking(query: Any, key: Any, value: Any, *rest: Any, **options: Any) -> Any:
        return sound(query, key, value, *rest, **options) + 1e-2 * value.mean()

    patch.setattr(attention, "segment_attention", leaking)
    return case
