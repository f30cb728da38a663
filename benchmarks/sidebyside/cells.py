"""The cells of the comparison with TRL and PEFT: an objective, a method, a model and rows; how the sides are set.

A cell is named ``objective-method-size-rows``. Its ratios are of three tracks:

    vs_default          as both come
    vs_expert           TRL as an expert sets it, with sequences of similar length together where that is faster
    vs_same_switches    TRL with our switches: bf16 weights, no checkpointing, rows in their order

For pairs there are two more of each: ``cached_…``, where the reference is known (our second epoch; TRL's
``precompute_ref_log_probs``, whose cost is in nobody's time).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidebyside.gate import Check, checks, preference_checks
from sidebyside.report import say

Side = tuple[str, dict[str, Any], int]
"""The child's module, its options, and the updates of one process."""


@dataclass(frozen=True)
class Cell:
    """What is trained, by whom, and how it is told."""

    name: str
    maker: tuple[str, ...]
    """The module that makes the material, and its options."""
    data: str
    """The file of real rows, below ``TUNESMITH_TEST_DATA``."""
    batch: int
    asked: Mapping[str, Any]
    """Options of every child."""
    sides: Mapping[str, Side]
    ratios: Mapping[str, tuple[str, str]]
    bars: Mapping[str, float] = field(default_factory=dict)

    def checks(self, material: Path, work: Path) -> Sequence[Check]:
        """The equality gate."""
        gate: Callable[..., Sequence[Check]] = preference_checks if self.asked["objective"] == "dpo" else checks
        return gate(material, work, batch=self.batch, say=say, asked=self.asked)


SEQUENTIAL, GROUPED = {"order": "sequential"}, {"order": "group_by_length"}
SFT_SIDES: Mapping[str, Side] = {
    "default": ("peer", {"setting": "default", **SEQUENTIAL}, 4),
    "expert": ("peer", {"setting": "expert", **GROUPED}, 15),
    "same_switches": ("peer", {"setting": "expert", **SEQUENTIAL}, 4),
    "ours": ("ours", {"dtype": "auto"}, 15),
}
"""Fifteen updates are one whole group of the expert's length grouping, which starts with its longest rows and ends with
its shortest."""
SFT_RATIOS = {f"vs_{side}": ("ours", side) for side in ("default", "expert", "same_switches")}
DPO_SIDES: Mapping[str, Side] = {
    "default": ("peer", {"setting": "default", **SEQUENTIAL}, 9),
    "same_switches": ("peer", {"setting": "expert", **SEQUENTIAL}, 9),
    "expert": ("peer", {"setting": "expert", **GROUPED}, 9),
    "expert_cached": ("peer", {"setting": "expert", **SEQUENTIAL, "cached": True}, 9),
    "ours": ("ours", {"dtype": "auto"}, 9),
    "ours_cached": ("ours", {"dtype": "auto", "cached": True}, 9),
}
DPO_RATIOS = {
    **SFT_RATIOS,
    "cached_vs_default": ("ours_cached", "default"),
    "cached_vs_same_switches": ("ours_cached", "same_switches"),
    "cached_vs_expert_cached": ("ours_cached", "expert_cached"),
}
BARS: Mapping[str, Mapping[str, float]] = {
    "sft-lora-32m-alpaca": {
        "vs_default": 7.0, "vs_expert": 2.6, "memory_above_floor": 0.5, "useful_fraction": 0.5,
    },
    "sft-full-32m-alpaca": {"vs_default": 5.0, "vs_expert": 2.0, "memory_above_floor": 0.5},
    "dpo-lora-32m-short": {
        "vs_default": 5.0, "vs_same_switches": 3.0, "cached_vs_default": 7.0, "cached_vs_same_switches": 4.5,
        "memory_above_floor": 0.5,
    },
    "dpo-lora-32m-long": {
        "vs_default": 3.0, "vs_same_switches": 2.5, "cached_vs_default": 4.5, "cached_vs_same_switches": 4.0,
        "memory_above_floor": 0.5,
    },
}  # fmt: skip
PAIRS = {"short": "preference/rasbt_instruction_preference.json", "long": "preference/dpo_en_demo.json"}


def sft(method: str, size: str, rows: str) -> Cell:
    """Supervised fine-tuning, sixteen sequences an update."""
    name = f"sft-{method}-{size}-{rows}"
    return Cell(
        name,
        ("material", "--size", size, "--rows", rows),
        "sft/alpaca_en_demo.json",
        16,
        {"objective": "sft", "method": method},
        SFT_SIDES,
        SFT_RATIOS,
        BARS.get(name, {}),
    )


def dpo(size: str, rows: str) -> Cell:
    """DPO with LoRA, eight pairs an update; the reference is the base."""
    name = f"dpo-lora-{size}-{rows}"
    return Cell(
        name,
        ("pairs", "--size", size),
        PAIRS[rows],
        8,
        {"objective": "dpo", "method": "lora"},
        DPO_SIDES,
        DPO_RATIOS,
        BARS.get(name, {}),
    )


SIZES = ("15m", "32m", "135m")
EVERY = {
    cell.name: cell
    for cell in (
        *(
            sft(method, size, rows)
            for size in SIZES
            for method in ("lora", "full")
            for rows in ("alpaca", "mean120", "full")
        ),
        *(dpo(size, rows) for size in SIZES for rows in PAIRS),
    )
}
FIXED = (
    "sft-lora-32m-alpaca",
    "sft-full-32m-alpaca",
    "sft-lora-32m-mean120",
    "sft-lora-15m-mean120",
    "dpo-lora-32m-short",
    "dpo-lora-32m-long",
)
"""What ``make bench`` measures."""
