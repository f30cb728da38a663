"""The methods a comparison knows by name: a part of the table with its options, and the base it stands on.

The search for a rate is centred on the method's own ``usual_rate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.bench.methods import Candidate
from tunesmith.errors import UserError, did_you_mean
from tunesmith.methods import TABLE
from tunesmith.recipe import Part

KNOWN: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
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
"""Name in the table -> the recipe's ``method``, and options of ``model`` that go with it."""


def chosen(names: Sequence[str], more: Mapping[str, dict[str, Any]] | None = None) -> list[Candidate]:
    """The candidates of these names, ``full`` first (everything is told relative to it); all where none is named.

    ``more`` are further methods by name. A name that is in neither is that method with its defaults (a plugin,
    ``peft:VERA``).
    """
    known = {**KNOWN, **{name: (fields, {}) for name, fields in (more or {}).items()}}
    wanted = list(names) or list(known)
    return [_candidate(name, known) for name in ["full", *(name for name in wanted if name != "full")]]


def _candidate(name: str, known: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]) -> Candidate:
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
