"""Proofs of objectives that compare answers: sound cases pass, planted defects are found by their proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.proof.conftest import one
from tests.proof.rated_cases import leaking_answers, rated_case

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.policy import Outputs
from tunesmith.data.fit import fit
from tunesmith.data.formats import FORMATS
from tunesmith.data.store import example_of
from tunesmith.methods.full import Full
from tunesmith.methods.prompt import Prompt
from tunesmith.objectives.cpo import Cpo
from tunesmith.objectives.dpo import Dpo
from tunesmith.objectives.kto import Kto
from tunesmith.objectives.orpo import Orpo
from tunesmith.objectives.reward import Reward
from tunesmith.objectives.simpo import Simpo
from tunesmith.proof import TABLE
from tunesmith.proof.base import Outcome
from tunesmith.proof.prove import prove
from tunesmith.proof.windows import window

WITHOUT_REFERENCE = {"margin"}
SCORES_ONLY = {"end-of-turn", "rendering", "mask"}
COUPLED = {"isolation", "micro-batches"}


def failures(outcomes: list[Outcome]) -> list[str]:
    return [f"{one.name}: {one.measured} > {one.bound}: {one.why}" for one in outcomes if not one.passed]


@pytest.mark.parametrize(
    ("objective", "left_out"),
    [
        (Dpo(), set()),
        (Dpo(losses={"ipo": 1.0, "sft": 0.5}, length_normalised=True), set()),
        (Simpo(), WITHOUT_REFERENCE),
        (Cpo(), WITHOUT_REFERENCE),
        (Orpo(), WITHOUT_REFERENCE),
        (Kto(), COUPLED),
        (Reward(steps=False), WITHOUT_REFERENCE | SCORES_ONLY),
    ],
    ids=repr,
)
def test_sound_cases_pass(objective: Any, left_out: set[str]) -> None:
    outcomes = prove(rated_case(objective))
    assert failures(outcomes) == []
    assert {outcome.name for outcome in outcomes} == set(TABLE.entries) - left_out


def test_steps() -> None:
    """Scores in the middle of an answer are those of the model's own on the answer so far."""
    case = rated_case(Reward(steps=False))
    row = {"question": "Add.", "steps": ["1 + 1 = 2", "2 + 2 = 5", "so 5"], "labels": [1, 0, 0.5]}
    record, objective = FORMATS.load("steps").read(row), Reward(steps=True)
    examples = [example_of(encoding, 0) for encoding in objective.encode(record, case.encoder)]
    case = replace(case, objective=objective, examples=examples, records={0: record})
    outcomes = prove(case)
    assert failures(outcomes) == []
    assert {outcome.name for outcome in outcomes} == set(TABLE.entries) - SCORES_ONLY - {"margin", "sharing"}


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "mistral"])
def test_families(family: str) -> None:
    assert failures(prove(rated_case(Dpo(), family=family))) == []


@pytest.mark.parametrize("objective", [Dpo(), Reward(steps=False)], ids=repr)
def test_the_padded_driver(objective: Any) -> None:
    assert failures(prove(rated_case(objective, driver="padded"))) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_whole_model(dtype: torch.dtype) -> None:
    outcomes = prove(rated_case(Dpo(), method=Full(), dtype=dtype))
    assert failures(outcomes) == []
    assert "margin" in {outcome.name for outcome in outcomes}


def test_a_start_that_is_not_the_reference_has_no_margin_to_prove() -> None:
    """A soft prompt changes the model before it is trained."""
    outcomes = prove(rated_case(Dpo(), method=Prompt(tokens=4)))
    assert failures(outcomes) == []
    assert "margin" not in {outcome.name for outcome in outcomes}


@pytest.mark.parametrize("proof", ["packing", "sharing", "isolation"])
def test_a_leak_between_answers_is_found(proof: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not one(leaking_answers(monkeypatch), proof).passed


class Unmasked(Dpo):
    """Drops the first token of every answer from the loss."""

    def loss(self, outputs: Outputs, batch: Batch) -> Any:
        assert outputs.logprob is not None
        first = torch.cat([torch.ones(1, dtype=torch.bool), batch.readout.unit[1:] != batch.readout.unit[:-1]])
        return super().loss(replace(outputs, logprob=outputs.logprob.masked_fill(first, 0.0)), batch)


class Reaching(Dpo):
    """Learns the tokens of questions as well."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        return super().collate([replace(one, trained=np.ones(len(one), dtype=bool)) for one in examples])


@pytest.mark.parametrize("objective", [Unmasked(), Reaching()], ids=["too few", "too many"])
def test_another_mask_is_found(objective: Any) -> None:
    outcome = one(rated_case(objective), "mask")
    assert not outcome.passed


class Averaged(Dpo):
    """Divides in each micro-batch."""

    def loss(self, outputs: Outputs, batch: Batch) -> Any:
        return [replace(term, values=term.values / batch.examples) for term in super().loss(outputs, batch)]


def test_a_mean_of_means_is_found() -> None:
    assert not one(rated_case(Averaged()), "micro-batches").passed


@pytest.mark.parametrize("size", [32, 21, 12])
def test_windows_of_pairs_keep_where_the_answers_part(size: int) -> None:
    for objective in (Dpo(), Reward(steps=False)):
        for example in rated_case(objective).examples:
            piece = window(example, size)
            begin, second = piece.branches
            answers = piece.ids[begin:second].tolist(), piece.ids[second:].tolist()
            assert answers[0] != answers[1]
            assert begin <= size // 2
            assert max(map(len, answers)) <= size // 2
            assert not piece.trained[:begin].any()
            assert all(piece.trained[part].any() for part in (slice(begin, second), slice(second, None)))
            if example.labels is not None:
                assert piece.targets == len(example.labels)


def test_cut_answers_are_pieces_of_what_is_rendered_and_swapped_ones_are_not() -> None:
    case = rated_case(Dpo())
    (example, *_), record = case.examples, case.records[0]
    (encoding,) = case.objective.encode(record, case.encoder)
    longest = max(example.branches[1], example.branches[0] + len(example) - example.branches[1])
    (cut,) = fit([encoding], max_tokens=longest - 1, overlong="cut").encodings
    assert one(replace(case, examples=[example_of(cut, 0)]), "mask").passed
    begin, second = example.branches
    parts = (slice(0, begin), slice(second, None), slice(begin, second))
    swapped = replace(
        example,
        ids=np.concatenate([example.ids[part] for part in parts]),
        trained=np.concatenate([example.trained[part] for part in parts]),
        branches=(begin, begin + len(example) - second),
    )
    outcome = one(replace(case, examples=[swapped]), "mask")
    assert not outcome.passed
    assert "other tokens or marks" in outcome.why
