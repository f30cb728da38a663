"""The cells of the comparison with TRL, PEFT and transformers: objective, method, model, rows; how the sides are set.

A cell is named ``objective-method-size-rows``. Its ratios are of three tracks:

    vs_default          as both come
    vs_expert           the other side as an expert sets it, with sequences of similar length together where faster
    vs_same_switches    the other side with our switches: bf16 weights, no checkpointing, rows in their order

and, of ``sft``, ``vs_trainer``: transformers' own ``Trainer`` as it comes. ``cached_…`` are of what is known from the
first epoch on: the answers of a frozen reference (``dpo``), the states of frozen layers (``top``: LoRA on the upper
half of the layers, ``model.trunk_cache``). What an update of ``grpo`` takes is told with the answers it samples.

The models ``1b`` and ``8b`` are for a GPU. There ``ours`` is the fast point, without checkpointing, and ``ours_lean``
the lean one, with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sidebyside.material import SIZES
from sidebyside.texts import ENCODER


@dataclass(frozen=True)
class Side:
    """Who trains (the child's module), how, and how many updates; those from ``first`` on are timed."""

    module: str
    options: Mapping[str, Any]
    updates: int
    first: int = 1

    @property
    def floor(self) -> str:
        """Whose imports it has: ours, or those of a library."""
        return "ours" if self.module == "ours" else str(self.options.get("library", "trl"))


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
    """Name of a ratio -> the sides of which it is."""
    bars: Mapping[str, float] = field(default_factory=dict)
    gpu: bool = False
    noise: float = 1.0
    """What multiplies the gate's bounds of losses: the root of how many more tokens a loss is summed over."""

    @property
    def objective(self) -> str:
        """Its first word."""
        return self.name.partition("-")[0]


SEQUENTIAL, GROUPED = {"order": "sequential"}, {"order": "group_by_length"}
TRAINER = {"library": "transformers"}
OURS = {"dtype": "auto"}
EPOCH = 15
"""Updates of one whole group of the expert's length grouping, which starts with its longest rows and ends with its
shortest; and of the one epoch of the rows of ``top``."""


def against(*theirs: str) -> dict[str, tuple[str, str]]:
    """A ratio of ours to each of the sides ``theirs``."""
    return {f"vs_{side}": ("ours", side) for side in theirs}


SFT_SIDES: Mapping[str, Side] = {
    "default": Side("peer", {"setting": "default", **SEQUENTIAL}, 4),
    "expert": Side("peer", {"setting": "expert", **GROUPED}, EPOCH),
    "same_switches": Side("peer", {"setting": "expert", **SEQUENTIAL}, 4),
    "trainer": Side("peer", {"setting": "default", **SEQUENTIAL, **TRAINER}, 3),
    "ours": Side("ours", OURS, EPOCH),
}
SFT_RATIOS = against("default", "expert", "same_switches", "trainer")
TOP_SIDES: Mapping[str, Side] = {
    **{name: side for name, side in SFT_SIDES.items() if name != "trainer"},
    "ours_first": Side("ours", {**OURS, "trunk_cache": "ram"}, EPOCH),
    "ours_cached": Side("ours", {**OURS, "trunk_cache": "ram"}, 2 * EPOCH, first=EPOCH + 1),
    "ours_disk": Side("ours", {**OURS, "trunk_cache": "disk"}, 2 * EPOCH, first=EPOCH + 1),
}
"""``ours_first`` is the epoch in which states are kept, the others those in which they are known."""
TOP_RATIOS = {
    **against("default", "expert", "same_switches"),
    "cached_vs_default": ("ours_cached", "default"),
    "cached_vs_expert": ("ours_cached", "expert"),
    "disk_vs_default": ("ours_disk", "default"),
    "first_vs_ours": ("ours_first", "ours"),
    "cached_vs_ours": ("ours_cached", "ours"),
}
DPO_SIDES: Mapping[str, Side] = {
    "default": Side("peer", {"setting": "default", **SEQUENTIAL}, 9),
    "same_switches": Side("peer", {"setting": "expert", **SEQUENTIAL}, 9),
    "expert": Side("peer", {"setting": "expert", **GROUPED}, 9),
    "expert_cached": Side("peer", {"setting": "expert", **SEQUENTIAL, "cached": True}, 9),
    "ours": Side("ours", OURS, 9),
    "ours_cached": Side("ours", {**OURS, "cached": True}, 9),
}
"""Cached, the reference is known: our second epoch, and TRL's ``precompute_ref_log_probs``, whose cost is in nobody's
time."""
DPO_RATIOS = {
    **against("default", "expert", "same_switches"),
    "cached_vs_default": ("ours_cached", "default"),
    "cached_vs_same_switches": ("ours_cached", "same_switches"),
    "cached_vs_expert_cached": ("ours_cached", "expert_cached"),
}
CLASSIFY_SIDES: Mapping[str, Side] = {
    "default": Side("peer", {"setting": "default", **SEQUENTIAL}, EPOCH),
    "expert": Side("peer", {"setting": "expert", **GROUPED}, 51),
    "same_switches": Side("peer", {"setting": "expert", **SEQUENTIAL}, EPOCH),
    "ours": Side("ours", OURS, EPOCH),
}
"""Of all sides it is transformers' own trainer: TRL has none. Fifty updates of 32 are a group of length grouping."""
GRPO_SIDES: Mapping[str, Side] = {
    "default": Side("peer", {"setting": "default"}, 3),
    "expert": Side("peer", {"setting": "expert"}, 3),
    "ours": Side("ours", OURS, 4),
}
GPU_SIDES: Mapping[str, Side] = {
    "default": Side("peer", {"setting": "default", **SEQUENTIAL}, EPOCH),
    "expert": Side("peer", {"setting": "expert", **GROUPED}, EPOCH),
    "ours": Side("ours", {**OURS, "checkpointing": "off"}, EPOCH),
    "ours_lean": Side("ours", {**OURS, "checkpointing": "on"}, EPOCH),
}
GPU_RATIOS = {**against("default", "expert"), "lean_vs_default": ("ours_lean", "default")}

SFT_DATA, TEXTS = "sft/alpaca_en_demo.json", "classification/stsa.binary.train"
PAIRS = {"short": "preference/rasbt_instruction_preference.json", "long": "preference/dpo_en_demo.json"}
GPU_BARS = {"vs_expert": 1.25, "lean_vs_default": 1.2, "useful_fraction": 0.6, "lean_memory": 0.55}
BARS: Mapping[str, Mapping[str, float]] = {
    "sft-lora-32m-alpaca": {
        "vs_default": 7.0, "vs_expert": 2.6, "memory_above_floor": 0.5, "useful_fraction": 0.5,
    },
    "sft-full-32m-alpaca": {"vs_default": 5.0, "vs_expert": 2.0, "memory_above_floor": 0.5},
    "sft-top-32m-alpaca": {"cached_vs_default": 12.0, "cached_vs_expert": 4.5},
    "dpo-lora-32m-short": {
        "vs_default": 5.0, "vs_same_switches": 3.0, "cached_vs_default": 7.0, "cached_vs_same_switches": 4.5,
        "memory_above_floor": 0.5,
    },
    "dpo-lora-32m-long": {
        "vs_default": 3.0, "vs_same_switches": 2.5, "cached_vs_default": 4.5, "cached_vs_same_switches": 4.0,
        "memory_above_floor": 0.5,
    },
    "sft-lora-8b-mean120": {"vs_default": 4.5, **GPU_BARS},
    "sft-lora-8b-full": {"vs_default": 1.9, **GPU_BARS},
}  # fmt: skip
"""At least; of memory, at most."""


def sft(method: str, size: str, rows: str) -> Cell:
    """Supervised fine-tuning, sixteen sequences an update; method ``top`` is LoRA on the upper half of the layers."""
    top, name = method == "top", f"sft-{method}-{size}-{rows}"
    trained = {"method": "lora", "layers": SIZES[size].top} if top else {"method": method}
    found = Cell(
        name,
        ("material", "--size", size, "--rows", rows, *(["--top"] if top else [])),
        SFT_DATA,
        16,
        {"objective": "sft", **trained},
        TOP_SIDES if top else SFT_SIDES,
        TOP_RATIOS if top else SFT_RATIOS,
        BARS.get(name, {}),
    )
    return replace(found, sides=GPU_SIDES, ratios=GPU_RATIOS, gpu=True) if size in GPU_SIZES else found


def dpo(size: str, rows: str) -> Cell:
    """DPO with LoRA, eight pairs an update; the reference is the base."""
    name = f"dpo-lora-{size}-{rows}"
    asked = {"objective": "dpo", "method": "lora"}
    noise = 10**0.5 if rows == "long" else 1.0
    return Cell(
        name, ("pairs", "--size", size), PAIRS[rows], 8, asked, DPO_SIDES, DPO_RATIOS, BARS.get(name, {}),
        noise=noise,
    )  # fmt: skip


def classify(method: str, size: str) -> Cell:
    """Two classes of sentences, 32 an update, by a decoder or (``minilm``) an encoder."""
    asked = {"objective": "classify", "method": method}
    others: Mapping[str, Side] = {
        name: replace(side, options={**side.options, **TRAINER}) if side.module == "peer" else side
        for name, side in CLASSIFY_SIDES.items()
    }
    ratios = against("default", "expert", "same_switches")
    return Cell(f"classify-{method}-{size}-sentences", ("texts", "--size", size), TEXTS, 32, asked, others, ratios)


def grpo(method: str, size: str) -> Cell:
    """Four prompts an update, each answered eight times with 64 tokens."""
    asked, ratios = {"objective": "grpo", "method": method}, against("default", "expert")
    return Cell(f"grpo-{method}-{size}-prompts", ("prompts", "--size", size), SFT_DATA, 4, asked, GRPO_SIDES, ratios)


CPU_SIZES, GPU_SIZES = ("15m", "32m", "135m"), ("1b", "8b")
KINDS_OF_ROWS = ("alpaca", "mean120", "full")
EVERY = {
    cell.name: cell
    for cell in (
        *(sft(method, size, rows) for size in CPU_SIZES for method in ("lora", "full") for rows in KINDS_OF_ROWS),
        *(sft(method, size, "alpaca") for size in CPU_SIZES for method in ("qlora", "top")),
        *(dpo(size, rows) for size in CPU_SIZES for rows in PAIRS),
        *(classify(method, size) for size in (ENCODER, *CPU_SIZES) for method in ("lora", "full")),
        *(grpo(method, size) for size in CPU_SIZES for method in ("lora", "full")),
    )
}
ON_GPU = {
    cell.name: cell
    for cell in (
        *(sft("lora", size, rows) for size in GPU_SIZES for rows in ("mean120", "full")),
        *(sft("full", "1b", rows) for rows in ("mean120", "full")),
        *(sft("qlora", size, "full") for size in GPU_SIZES),
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
