"""A run whose result is no good is told so, in one sentence with advice."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.recipe.schema import TrainConfig
from tunesmith.run.warnings import never_better, unwatchable, warnings


def change(verdict: str, name: str = "nll") -> dict[str, Any]:
    return {"task": {name: {"verdict": verdict, "before": {"value": 3.0}, "after": {"value": 3.25}}}}


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([], False),
        ([4.0, 3.0, 2.0], False),
        ([4.0, 9.0, 9.0, 3.0, 3.0, 3.0, 3.0, 3.0], False),  # it came back
        ([2.0, 2.4, 2.4, 2.4, 2.4, 2.4], False),  # batches differ
        ([4.1, 9.0, 6.24, 6.24, 6.24, 6.24, 6.24], True),
        ([0.1, 0.5, 0.55, 0.55, 0.5, 0.5], False),
        ([0.7, 3.0, 3.0, 3.0, 3.0, 3.0], True),
        ([4.0, 900.0], True),
    ],
)
def test_a_loss_far_above_the_first_is_divergence(losses: list[float], told: bool) -> None:
    found = warnings(change("same"), losses, TrainConfig(learning_rate=0.5, clip=0))
    assert len(found) == told
    if told:
        assert "diverged" in found[0]
        assert "(it was 0.5) and leave train.clip at 1.0" in found[0]


@pytest.mark.parametrize("name", ["nll", "loss"])
def test_worse_than_the_base_is_told(name: str) -> None:
    (found,) = warnings(change("worse", name), [4.0, 3.0], TrainConfig())
    assert f"{name} 3 became 3.25" in found
    assert "clip" not in found
    for verdict in ("better", "same", "unknown"):
        assert warnings(change(verdict, name), [4.0, 3.0], TrainConfig()) == []
    assert warnings({}, [4.0, 3.0], TrainConfig()) == []


def test_a_metric_that_is_no_number_is_told() -> None:
    watching = TrainConfig(early_stopping={"metric": "validation_auroc", "patience": 2})
    text = unwatchable({"validation_auroc": float("nan"), "validation_loss": 1.0}, watching)
    assert text is not None
    assert "validation_auroc is no number" in text
    assert "after 2 such evaluations training ends" in text
    assert unwatchable({"validation_auroc": 0.5, "validation_loss": float("nan")}, watching) is None
    plain = unwatchable({"validation_loss": float("inf")}, TrainConfig(early_stopping=None))
    assert plain is not None
    assert "validation_loss" in plain
    assert "ends" not in plain
    (told,) = never_better(watching, evaluated=True, best=None)
    assert "validation_auroc was never a number" in told
    assert never_better(watching, evaluated=True, best=4) == []
    assert never_better(watching, evaluated=False, best=None) == []
