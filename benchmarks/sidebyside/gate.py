"""The equality gate: both sides must train the same thing before either is timed.

    first update, float32: loss to 1e-5, gradient norm to 1e-4 (relative)
    first update, bf16:    loss to 2e-3, gradient norm to 1e-2, against both TRL settings
    50 updates, float32:   largest relative difference of the loss 1e-5, mean signed difference 1e-6
    every update:          the same number of real tokens

The curve runs on the shortest rows, four an update: in float32 the padded side would otherwise take half an hour, and
four sequences of different lengths already exercise masks, positions, normalisation, clipping and the optimizer. Its
bounds are 50 times what was measured (2e-7 and 2e-8, float32 rounding), for other processors; a wrong normaliser, decay
or clip drifts by percents, and one way, which is what the mean signed difference is for.

Of pairs (DPO) the curve is 20 updates, because its loss starts near log 2 and is a small difference of sums over
answers: 100 nats rounded in float32 are 1e-5, of which β leaves 1e-6.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sidebyside.child import run

CURVE_STEPS, CURVE_BATCH = 50, 4
PREFERENCE_STEPS = 20


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


def checks(
    material: Path,
    work: Path,
    *,
    batch: int,
    say: Callable[[str], None],
    asked: Mapping[str, Any] = MappingProxyType({}),
) -> list[Check]:
    """Run both sides and compare them; ``asked`` are options of both."""
    curve = {**asked, "material": str(material), "rows": "short.jsonl", "steps": CURVE_STEPS, "batch": CURVE_BATCH}
    say(f"gate: {CURVE_STEPS} float32 updates by both sides")
    ours = run("ours", json.dumps({**curve, "dtype": "float32"}), work=work)
    theirs = run("peer", json.dumps({**curve, "setting": "exact", "order": "sequential"}), work=work)
    found = [*first_update("float32", ours, theirs, loss=1e-5, norm=1e-4), *curves(ours, theirs)]
    first = {**curve, "rows": "rows.jsonl", "steps": 1, "batch": batch}
    say("gate: the first bf16 update by all three")
    ours = run("ours", json.dumps({**first, "dtype": "bfloat16"}), work=work)
    for setting in ("default", "expert"):
        theirs = run("peer", json.dumps({**first, "setting": setting, "order": "sequential"}), work=work)
        found += first_update(f"bf16, TRL {setting}", ours, theirs, loss=2e-3, norm=1e-2)
    return found


def preference_checks(
    material: Path,
    work: Path,
    *,
    batch: int,
    say: Callable[[str], None],
    asked: Mapping[str, Any] = MappingProxyType({}),
) -> list[Check]:
    """The same of DPO: a float32 curve, then the first bf16 update of real size."""
    short = {**asked, "material": str(material), "rows": "short.jsonl", "steps": PREFERENCE_STEPS, "batch": CURVE_BATCH}
    curve = {**short, "objective": "dpo"}
    say(f"gate: {PREFERENCE_STEPS} float32 updates by both sides")
    ours = run("ours", json.dumps({**curve, "dtype": "float32"}), work=work)
    theirs = run("peer", json.dumps({**curve, "setting": "exact", "order": "sequential"}), work=work)
    found = [*first_update("float32", ours, theirs, loss=1e-5, norm=1e-4), *curves(ours, theirs)]
    first = {**curve, "rows": "rows.jsonl", "steps": 1, "batch": batch}
    say("gate: the first bf16 update by all three")
    asked, known = (
        run("ours", json.dumps({**first, "dtype": "bfloat16", "cached": cached}), work=work) for cached in (False, True)
    )
    found.append(Check("first loss, bf16, cached reference", relative(known["loss"][0], asked["loss"][0]), 0.0))
    for setting in ("default", "expert"):
        theirs = run("peer", json.dumps({**first, "setting": setting, "order": "sequential"}), work=work)
        found += first_update(f"bf16, TRL {setting}", asked, theirs, loss=2e-3, norm=1e-2)
    return found


def first_update(name: str, ours: dict[str, Any], theirs: dict[str, Any], *, loss: float, norm: float) -> list[Check]:
    """Loss, gradient norm and tokens of the first update."""
    return [
        Check(f"first loss, {name}", relative(ours["loss"][0], theirs["loss"][0]), loss),
        Check(f"first gradient norm, {name}", relative(ours["norm"][0], theirs["norm"][0]), norm),
        Check(f"tokens, {name}", float(ours["tokens"] != theirs["tokens"]), 0.0),
    ]


def curves(ours: dict[str, Any], theirs: dict[str, Any]) -> list[Check]:
    """Largest and mean signed relative difference of the two loss curves."""
    signed = [a / b - 1 for a, b in zip(ours["loss"], theirs["loss"], strict=True)]
    return [
        Check(f"loss of {len(signed)} updates, largest", max(map(abs, signed)), 1e-5),
        Check(f"loss of {len(signed)} updates, mean signed", abs(sum(signed) / len(signed)), 1e-6),
    ]


def relative(value: float, reference: float) -> float:
    """``|value / reference − 1|``."""
    return abs(value / reference - 1)
