"""A proof that cannot fail proves nothing: every one sees the defects planted for it, and only a reason is told."""

from __future__ import annotations

import pytest
from tests.proof.conftest import one
from tests.proof.defects import DEFECTS, Defect, small_leak

from tunesmith.proof import TABLE


@pytest.mark.parametrize("defect", DEFECTS, ids=str)
def test_a_planted_defect_is_caught(defect: Defect, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = one(defect.plant(monkeypatch), defect.proof)
    assert not outcome.passed
    assert defect.words in outcome.why


def test_every_proof_has_a_defect() -> None:
    assert {defect.proof for defect in DEFECTS} == set(TABLE.all)


def test_only_the_exact_proof_sees_a_leak_below_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    assert one(small_leak(monkeypatch), "packing").passed
