"""Useful FLOPs by hand: the formulas of 6P, 4P + 6p, and of rows and keys that a method adds.

The tiny Llama has two layers of width 64: q and o 64 x 64, k and v 64 x 32, gate, up and down 64 x 96; a head of 320.
"""

from __future__ import annotations

from typing import Any

import pytest

from families import tiny
from tunesmith.methods import TABLE
from tunesmith.models.flops import update_flops
from tunesmith.models.quantized.model import quantize_model
from tunesmith.recipe import Part
from tunesmith.recipe.parts import build

LENGTHS, LOSS = [3, 5], 4.0
TOKENS = sum(LENGTHS)
P = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)
HEAD = 320 * 64
WIDTH = 2 * 64
"""Query width of both layers."""
PAIRS = 2 * (3 * 3 + 5 * 5)
"""Of causal attention: 2 s H h a token."""


def counted(method: dict[str, Any], quantize: str = "none", **options: float) -> float:
    model = tiny("llama").requires_grad_(False)
    if quantize != "none":
        quantize_model(model, quantize)
    build(TABLE, Part.model_validate(method)).attach(model)
    return update_flops(model, LENGTHS, LOSS, **options)


def test_full_is_six_flops_a_weight() -> None:
    assert counted({"name": "full"}) == 6 * P * TOKENS + 6 * HEAD * LOSS + 3.5 * PAIRS * WIDTH


@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_lora_is_four_flops_a_weight_and_six_a_weight_of_its_own(quantize: str) -> None:
    p = 4 * 2 * ((64 + 64) * 2 + (64 + 32) * 2 + (64 + 96) * 3)
    expected = (4 * P + 6 * p) * TOKENS + 4 * HEAD * LOSS + 3.5 * PAIRS * WIDTH
    assert counted({"name": "lora", "rank": 4}, quantize) == expected


@pytest.mark.parametrize("method", [{"name": "prompt", "tokens": 7}, {"name": "p-tuning", "tokens": 7}])
def test_a_prompt_s_vectors_are_rows_of_every_sequence(method: dict[str, Any]) -> None:
    rows, pairs = TOKENS + 14, 2 * (10 * 10 + 12 * 12)
    assert counted(method) == 4 * P * rows + 4 * HEAD * LOSS + 3.5 * pairs * WIDTH


@pytest.mark.parametrize("method", [{"name": "p-tuning-v2", "tokens": 7}, {"name": "prefix", "tokens": 7}])
def test_a_prefix_is_seen_by_every_token_and_has_no_rows(method: dict[str, Any]) -> None:
    pairs = PAIRS + 4 * 7 * TOKENS
    assert counted(method) == 4 * P * TOKENS + 4 * HEAD * LOSS + 3.5 * pairs * WIDTH


@pytest.mark.parametrize("trunk", [1.0, 0.25])
def test_below_the_lowest_adapted_layer_there_is_a_forward_pass_for_the_rows_that_are_run(trunk: float) -> None:
    p = 2 * 2 * ((64 + 64) * 2 + (64 + 32) * 2 + (64 + 96) * 3)
    layers = (P / 2 * (2 * trunk + 4) + 6 * p) * TOKENS
    expected = layers + 4 * HEAD * LOSS + (trunk + 3.5) * PAIRS * WIDTH / 2
    assert counted({"name": "lora", "rank": 4, "layers": [1]}, trunk=trunk) == expected
