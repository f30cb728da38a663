"""The methods a comparison knows by name: a part of the table with its options, and the base it stands on.

The search for a rate is centred on the method's own ``usual_rate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import UserError, did_you_mean
from tunesmith.methods import TABLE
from tunesmith.recipe import Part

Known = Mapping[str, tuple[dict[str, Any], dict[str, Any]]]
"""Name in the table -> the recipe's ``method``, and options of ``model`` that go with it."""
KNOWN: Known = {
    "full": ({"name": "full"}, {}),
    "freeze": ({"name": "freeze", "top_layers": 2}, {}),
    "bitfit": ({"name": "bitfit"}, {}),
    "norms": ({"name": "norms"}, {}),
    "lora": ({"name": "lora"}, {}),
    "lora-attention": ({"name": "lora", "targets": "attention"}, {}),
    "rslora": ({"name": "lora", "rslora": True, "alpha": 8.0}, {}),
    "lora+": ({"name": "lora", "b_rate": 16.0}, {}),
    "dora": ({"name": "lora", "dora": True}, {}),
    "pissa": ({"name": "lora", "init": "pissa"}, {}),
    "adalora": ({"name": "adalora"}, {}),
    "ia3": ({"name": "ia3"}, {}),
    "qlora": ({"name": "lora"}, {"quantize": "nf4-double"}),
    "lora-int8": ({"name": "lora"}, {"quantize": "int8"}),
    "loftq": ({"name": "lora", "init": "loftq"}, {}),
    "adapter": ({"name": "adapter", "kind": "houlsby"}, {}),
    "adapter-pfeiffer": ({"name": "adapter", "kind": "pfeiffer"}, {}),
    "adapter-parallel": ({"name": "adapter", "kind": "parallel"}, {}),
    "prompt": ({"name": "prompt"}, {}),
    "p-tuning": ({"name": "p-tuning"}, {}),
    "prefix": ({"name": "prefix"}, {}),
    "p-tuning-v2": ({"name": "p-tuning-v2"}, {}),
}


@dataclass(frozen=True)
class Candidate:
    """A method under the name it has in the table, and the rate its search is centred on."""

    name: str
    method: Part
    rate: float
    changes: Mapping[str, Any]
    """Further options of ``model`` (``quantize``)."""


def chosen(names: Sequence[str], more: Known | None = None) -> list[Candidate]:
    """The candidates of these names, ``full`` first (everything is told relative to it); all where none is named.

    ``more`` are further ones. A name that is in neither is that method with its defaults (a plugin,
    ``peft:VERA``).
    """
    known = {**KNOWN, **(more or {})}
    wanted = list(names) or list(known)
    return [_candidate(name, known) for name in ["full", *(name for name in wanted if name != "full")]]


def known_rates(given: Sequence[str]) -> dict[str, float]:
    """Learning rates by method's name, of ``NAME=RATE``; a ``UserError`` (``bad-rate``) for anything else."""
    found = {}
    for text in given:
        name, equals, rate = text.partition("=")
        try:
            found[name] = float(rate)
        except ValueError:
            found[name] = 0.0
        if not equals or not found[name] > 0:
            raise UserError(
                "a known rate is not of the form NAME=RATE", got=f"'{text}'", allowed="lora=2e-4", code="bad-rate"
            )
    return found


def _candidate(name: str, known: Known) -> Candidate:
    fields, changes = known.get(name, ({"name": name}, {}))
    kind = str(fields["name"]).partition(":")[0]
    if kind not in TABLE:
        raise UserError(
            "unknown method",
            got=f"'{name}'",
            allowed=sorted({*known, *TABLE}),
            hint=did_you_mean(name, {*known, *TABLE}),
            code="unknown-method",
        )
    method = TABLE.load(kind)
    return Candidate(name, Part.model_validate(fields), float(getattr(method, "usual_rate", 2e-4)), changes)
