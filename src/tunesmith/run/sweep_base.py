"""One base in memory for many runs: each puts its adapter on it, and takes it off again.

The base is loaded, probed, packed and cast once. What an adapter starts from is drawn as a run of its own would draw
it, from the base as it was loaded: all starts are drawn before the base is cast to the dtype it computes in.

Trials share a base where their recipes ask for the same one and their method leaves it as it was (``remove``); this is
looked at, not concluded from names. Any other trial loads its own, and the one before is let go first, so that one base
is in memory at a time in either case.

The trap: add-ons hook themselves into a model and do not leave it, so recipes with add-ons do not share.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from tunesmith.contracts.method import Attached
from tunesmith.engine.weights import Weights
from tunesmith.events import Sink, silent
from tunesmith.interop.named import Removable
from tunesmith.models.trunk_store import Store
from tunesmith.recipe import Recipe
from tunesmith.run.resolve import parts
from tunesmith.run.rows import learned
from tunesmith.run.session import Base, Language, Session, open_base, put_on, session_on
from tunesmith.run.training import Opener


@dataclass(frozen=True)
class Start:
    """What training an adapter begins from: float32 masters by name, and what the method remembers."""

    values: Mapping[str, torch.Tensor]
    state: Mapping[str, torch.Tensor]


class SharedBase:
    """Opens sessions of recipes, by number, on one base as far as they can share it."""

    def __init__(self) -> None:
        self.loads = 0
        """How often a base was loaded."""
        self._recipes: dict[int, Recipe] = {}
        self._keys: dict[int, str | None] = {}
        self._starts: dict[int, Start] = {}
        self._base: Base | None = None
        self._key: str | None = None
        self._on: tuple[Attached, Weights] | None = None
        self._trunks: dict[int, Store] = {}

    def expect(self, recipes: Mapping[int, Recipe]) -> None:
        """Name the recipes that will be opened, so that their starts are drawn together."""
        for number, recipe in recipes.items():
            self._recipes[number] = recipe
            self._keys[number] = _key(recipe)

    def opener(self, number: int) -> Opener:
        """What opens a session of recipe ``number``, as ``open_session`` does."""
        return partial(self._open, number)

    def _open(self, number: int, recipe: Recipe, language: Language, *, emit: Sink = silent) -> Session:
        self._take_off()
        key = self._keys[number]
        if self._base is None or key is None or key != self._key or self._drawn_too_late(number):
            self._load(number, recipe, language, emit)
        assert self._base is not None
        attached, weights = put_on(self._base, recipe)
        start = self._starts.get(number)
        if start is not None:
            weights.set(start.values)
            attached.restore(start.state)
        session = session_on(self._base, recipe, attached, weights, emit=emit)
        session.trunks = self._trunks
        self._on = attached, weights
        return session

    def _load(self, number: int, recipe: Recipe, language: Language, emit: Sink) -> None:
        key = self._keys[number]
        if key is None or key != self._key:
            self._trunks = {}
        self._fresh(recipe, language, emit)
        self._key = key
        for other, wanted in self._keys.items():
            if key is not None and wanted == key and other not in self._starts and not self._draw(other):
                self._fresh(recipe, language, emit)
        self._key = self._keys[number]

    def _fresh(self, recipe: Recipe, language: Language, emit: Sink) -> None:
        """The base as it is loaded, with nothing on it."""
        self._base = None
        gc.collect()
        self._base = open_base(recipe, language, emit=emit)
        self.loads += 1

    def _draw(self, number: int) -> bool:
        """Draw the start of trial ``number`` from the base as it was loaded; whether that is then what it was.

        Where it is not, trials of this method do not share a base.
        """
        assert self._base is not None
        model, recipe = self._base.model, self._recipes[number]
        before = dict(model.named_modules())
        attached, weights = put_on(self._base, recipe)
        start = Start(weights.values, dict(attached.state()))
        if isinstance(attached, Removable):
            attached.remove()
        model.requires_grad_(False)
        if isinstance(attached, Removable) and dict(model.named_modules()) == before:
            self._starts[number] = start
            return True
        alike = [one for one, other in self._recipes.items() if other.method.name == recipe.method.name]
        self._keys.update(dict.fromkeys(alike))
        return False

    def _take_off(self) -> None:
        """Take the adapter of the trial before off the base, or let the base go with it."""
        if self._on is None or self._base is None:
            return
        attached, weights = self._on
        self._on = None
        weights.unbind()
        weights.drop_gradients()
        if self._key is None or not isinstance(attached, Removable):
            self._base = None
            return
        attached.remove()
        self._base.model.requires_grad_(False)

    def _drawn_too_late(self, number: int) -> bool:
        """Whether trial ``number`` has no start yet and the base is cast already."""
        assert self._base is not None
        return number not in self._starts and self._base.dtype != self._base.stored


def _key(recipe: Recipe) -> str | None:
    """What two recipes must have in common to share a base; None where one cannot be shared."""
    if recipe.addons:
        return None
    recipe = learned(recipe)
    objective = parts(recipe).objective
    heads = (objective.head(), objective.more_heads())
    drawn = recipe.seed if any(heads) else None  # new heads are drawn with the base
    beside = sorted(objective.beside)
    data = (recipe.data.template, recipe.data.system, recipe.data.new_tokens)
    model = recipe.model.model_dump(exclude={"trunk_cache", "trunk_cache_gib", "checkpointing"})
    return repr((model, heads, drawn, beside, data, recipe.retention == "auto"))
