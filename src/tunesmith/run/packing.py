"""When a base is packed while it is read (``model.quantize``), so that the host never holds it dense.

Not where it has to be whole in memory first: an earlier run's adapter is folded into it (``model.start``), the text it
writes of its own is not written yet (``retention``; once a base), or its files have other names than its weights and
a digest of these is wanted. The result is the same either way, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.evaluation.retention import content_key, is_written
from tunesmith.models.load import folder_of, skeleton, streamable
from tunesmith.models.stored import as_loaded, stored_tensors
from tunesmith.recipe import Recipe
from tunesmith.run.resolve import parts


@dataclass(frozen=True)
class Reading:
    """A base that is packed as it is read; ``key`` is its ``base_key``, where that is wanted."""

    key: str | None


def reading(recipe: Recipe, tokenizer: Any, *, keyed: bool, texts: Path) -> Reading | None:
    """How the base of ``recipe`` can be packed while it is read; None where it cannot, or is not to be packed.

    ``keyed`` says that what is made here is trained: then a key may be wanted, and its own text in the cache ``texts``.
    """
    model, objective = recipe.model, parts(recipe).objective
    if model.quantize == "none" or model.start is not None or not streamable(model.base):
        return None
    if not keyed or not (speaks(recipe) or objective.beside):
        return Reading(None)
    key = key_of(model.base, tokenizer) if objective.head() is None else None
    if key is None or (speaks(recipe) and not is_written(texts, key)):
        return None
    return Reading(key)


def speaks(recipe: Recipe) -> bool:
    """Whether text that the base writes itself is used to see what it forgets."""
    return parts(recipe).objective.head() is None and recipe.retention == "auto"


def key_of(base: str, tokenizer: Any) -> str | None:
    """The ``base_key`` of ``base``, its files read a tensor at a time; None where its model must be loaded for it."""
    empty, tensors = skeleton(base), stored_tensors(Path(folder_of(base)))
    found = None if empty is None or tensors is None else as_loaded(empty, tensors)
    if found is None:
        return None
    return content_key(((name, found[name][...]) for name in sorted(found)), tokenizer)
