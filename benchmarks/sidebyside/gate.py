"""The equality gate: both sides must train the same thing before either is timed.

    first update, float32: loss to 1e-5, gradient norm to 1e-4 (relative)
    first update, bf16:    loss to 2e-3, gradient norm to 1e-2, against every setting that is timed
    a curve, float32:      largest relative difference of the loss 1e-5, mean signed difference 1e-6
    every update:          the same number of real tokens

The curve runs on the shortest rows, four an update: in float32 the padded side would otherwise take half an hour, and
four sequences of different lengths already exercise masks, positions, normalisation, clipping and the optimizer. Its
bounds are 50 times what was measured (2e-7 and 2e-8, float32 rounding), for other processors; a wrong normaliser, decay
or clip drifts by percents, and one way, which is what the mean signed difference is for.

Of pairs (DPO) the curve is 20 updates and the other side computes in float64: the loss is a small difference of sums
over whole answers, and TRL adds each up before it subtracts (4,000 nats of a long answer rounded in float32 are 2e-4,
of which β leaves 2e-5). Bounds of losses are √10 times as wide for long answers, of which one has ten times the tokens.
Of classes the curve is 20 updates too, in dozens of tokens.

Sampled answers (GRPO) are those of the other side on both, written down as its reward function sees them, two updates
for each rollout. Advantages of a group sum to nothing, and the loss to almost nothing: it is compared as it is, to
5e-6, and the gradient's norm, which is what is trained by, relatively in every update. In bf16 nothing is compared:
the sides sample other answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidebyside.cells import EPOCH, Cell
from sidebyside.child import run

CURVE_STEPS = {"sft": 50, "dpo": 20, "classify": 20, "grpo": 6}
CURVE_BATCH = 4
KEPT = 2e-3
"""Relative: what bf16 rounding makes of other neighbours in a micro-batch; rows meet the same ones here, so 0 is
expected."""
Told = Mapping[str, Any]
Ask = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Check:
    """One measured difference and its bound."""

    name: str
    measured: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether it is within its bound (a NaN is not)."""
        return self.measured <= self.bound

    def as_dict(self) -> dict[str, Any]:
        """For the JSON report."""
        return {"name": self.name, "measured": self.measured, "bound": self.bound, "passed": self.passed}


def checks(cell: Cell, material: Path, work: Path, *, say: Callable[[str], None]) -> list[Check]:
    """Run both sides of ``cell`` and compare them."""

    def ask(module: str, **more: Any) -> dict[str, Any]:
        return run(module, json.dumps({**cell.asked, "material": str(material), **more}), work=work, gpu=cell.gpu)

    if cell.objective == "grpo":
        return sampled(ask, work / "recorded.json", say)
    found = [*exact(cell, ask, say), *first_updates(cell, ask, say)]
    if any("trunk_cache" in side.options for side in cell.sides.values()):
        found += kept_trunk(cell, ask, say)
    return found


def exact(cell: Cell, ask: Ask, say: Callable[[str], None]) -> list[Check]:
    """A float32 curve by both sides, by each library that is timed; of pairs the other one in float64."""
    setting = "double" if cell.objective == "dpo" else "exact"
    curve = {"rows": "short.jsonl", "steps": CURVE_STEPS[cell.objective], "batch": CURVE_BATCH}
    say(f"gate: {curve['steps']} float32 updates by both sides")
    ours = ask("ours", **curve, dtype="float32")
    found = []
    for library in libraries(cell):
        theirs = ask("peer", **curve, setting=setting, order="sequential", library=library)
        found += first_update(f"float32, {library}", ours, theirs, loss=1e-5 * cell.noise, norm=1e-4)
        found += curves(library, ours, theirs, noise=cell.noise)
    return found


def first_updates(cell: Cell, ask: Ask, say: Callable[[str], None]) -> list[Check]:
    """The first bf16 update of real size, against all settings; with a cached reference the very same."""
    first = {"rows": "rows.jsonl", "steps": 1, "batch": cell.batch}
    say("gate: the first bf16 update by all")
    ours = ask("ours", **first, dtype="bfloat16")
    found = []
    if cell.objective == "dpo":
        known = ask("ours", **first, dtype="bfloat16", cached=True)
        found.append(Check("first loss, bf16, cached reference", relative(known["loss"][0], ours["loss"][0]), 0.0))
    main = libraries(cell)[0]
    for setting in ("default", "expert"):
        theirs = ask("peer", **first, setting=setting, order="sequential", library=main)
        found += first_update(f"bf16, {main} {setting}", ours, theirs, loss=2e-3 * cell.noise, norm=1e-2)
    return found


def kept_trunk(cell: Cell, ask: Ask, say: Callable[[str], None]) -> list[Check]:
    """Losses of two epochs with the frozen layers' states kept, beside those without."""
    say("gate: two epochs with kept states and without")
    epochs = {"rows": "rows.jsonl", "steps": 2 * EPOCH, "batch": cell.batch, "dtype": "bfloat16"}
    without, kept = (ask("ours", **epochs, trunk_cache=where)["loss"] for where in ("off", "ram"))
    return [Check("loss of two epochs, kept states", max(map(relative, kept, without)), KEPT)]


def sampled(ask: Ask, recorded: Path, say: Callable[[str], None]) -> list[Check]:
    """Losses and gradients on the same sampled answers, in updates on and off the policy that sampled them."""
    curve = {"rows": "short.jsonl", "steps": CURVE_STEPS["grpo"], "batch": 2, "recorded": str(recorded)}
    say(f"gate: {curve['steps']} float32 updates by both sides on the same answers")
    theirs, ours = ask("peer", **curve, setting="exact"), ask("ours", **curve, dtype="float32")
    return [
        Check("loss, float32, largest difference", max(map(distance, ours["loss"], theirs["loss"])), 5e-6),
        Check("gradient norm, float32, largest", max(map(relative, ours["norm"], theirs["norm"])), 1e-4),
        Check("tokens, float32", float(ours["tokens"] != theirs["tokens"]), 0.0),
    ]


def libraries(cell: Cell) -> list[str]:
    """The libraries that the other sides of ``cell`` are of, the first one first."""
    peers = [side.options for side in cell.sides.values() if side.module == "peer"]
    return list(dict.fromkeys(str(options.get("library", "trl")) for options in peers))


def first_update(name: str, ours: Told, theirs: Told, *, loss: float, norm: float) -> list[Check]:
    """Loss, gradient norm and tokens of the first update."""
    return [
        Check(f"first loss, {name}", relative(ours["loss"][0], theirs["loss"][0]), loss),
        Check(f"first gradient norm, {name}", relative(ours["norm"][0], theirs["norm"][0]), norm),
        Check(f"tokens, {name}", float(ours["tokens"] != theirs["tokens"]), 0.0),
    ]


def curves(library: str, ours: Told, theirs: Told, *, noise: float) -> list[Check]:
    """Largest and mean signed relative difference of the two loss curves."""
    signed: Sequence[float] = [a / b - 1 for a, b in zip(ours["loss"], theirs["loss"], strict=True)]
    return [
        Check(f"loss of {len(signed)} updates, {library}, largest", max(map(abs, signed)), 1e-5 * noise),
        Check(f"loss of {len(signed)} updates, {library}, mean signed", abs(sum(signed) / len(signed)), 1e-6 * noise),
    ]


def relative(value: float, reference: float) -> float:
    """``|value / reference − 1|``."""
    return abs(value / reference - 1)


def distance(value: float, reference: float) -> float:
    """``|value − reference|``."""
    return abs(value - reference)
