"""What a method costs, counted on the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_base import make_base
from tunesmith.recipe import Part
from tunesmith.run.sizing import sizes


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def test_lora_is_counted_by_its_formula(base: Path) -> None:
    """Rank 4 on seven linears of two blocks of width 64, inner width 96, two of four heads for keys and values."""
    attention = 4 * ((64 + 64) + (64 + 32) + (64 + 32) + (64 + 64))
    found = sizes(Part(name="lora", rank=4), str(base))
    assert found.trained == 2 * (attention + 4 * 3 * (64 + 96))
    assert found.training_bytes == 16 * found.trained
    assert found.base_bytes >= 4 * found.whole


def test_full_trains_all_and_adds_state(base: Path) -> None:
    found = sizes(Part(name="full"), str(base))
    assert found.share == 1.0
    assert found.training_bytes == 16 * found.whole


def test_a_packed_base_is_smaller(base: Path) -> None:
    dense, packed = (sizes(Part(name="lora", rank=4), str(base), quantize=kind) for kind in ("none", "nf4-double"))
    linears = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)
    saved = dense.base_bytes - packed.base_bytes
    assert saved == pytest.approx(linears * (4 - 4.13 / 8), rel=0.1)
    assert packed.trained == dense.trained
