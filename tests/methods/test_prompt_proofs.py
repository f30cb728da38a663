"""The run-time proofs pass on every prompt method, in both dtypes and drivers, checkpointed or not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from prompting import METHODS
from tests.proof.conftest import make_case

from tunesmith.proof import TABLE
from tunesmith.proof.prove import prove

LEFT_OUT = {"identity", "merge", "margin", "sharing"}
"""A prompt starts apart from its base and cannot be merged; these rows are no pairs."""


def failures(case: Any) -> list[str]:
    outcomes = prove(case)
    assert {outcome.name for outcome in outcomes} == set(TABLE.entries) - LEFT_OUT
    return [f"{one.name}: {one.measured} > {one.bound}: {one.why}" for one in outcomes if not one.passed]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "bert"])
def test_every_proof_passes(family: str, dtype: torch.dtype, method: str) -> None:
    case = make_case(family, method=METHODS[method], dtype=dtype)
    assert case.policy.driver == "flat"
    assert failures(case) == []


@pytest.mark.parametrize("method", METHODS)
def test_the_padded_driver_and_checkpointing(method: str) -> None:
    assert failures(make_case("gemma2", method=METHODS[method], driver="padded")) == []
    case = make_case("llama", method=METHODS[method], dropout=True)
    case.policy.model.activation_checkpointing_enable({"use_reentrant": False})
    assert failures(case) == []
