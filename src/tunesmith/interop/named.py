"""Several adapters on one model: trained one after the other, used alone or together, from one base in memory.

    >>> adapters = Adapters(model)
    >>> german = adapters.add("german", Lora(rank=8))       # active, and the one that is trained
    >>> optimizer = torch.optim.AdamW(adapters.trained_parameters(), lr=1e-3)
    >>> law = adapters.add("law", Adapter())                # alone on the same base; "german" is out of the model
    >>> adapters.set("german", "law", train="law")          # both, the first one frozen
    >>> adapters.trained_parameters()[0].requires_grad, optimizer.param_groups[0]["params"][0].requires_grad
    (True, False)
    >>> with adapters.use():                                # the base itself
    ...     logits = model(**batch).logits
    >>> adapters.save("german", folder)

An adapter that is not active is not in the model at all: it costs no time and takes no part in anything. Two active
ones add up where both change the same layer (two LoRAs give ``W + s₁B₁A₁ + s₂B₂A₂``); one that transforms what a layer
gives sees the sum of those before it. The base is never changed, bit for bit, until ``merge``.

The trap: layers nest, so they leave in the reverse order of their coming. And what is out of the model does not move
with it: choose device and dtype before the first ``add``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from torch import nn

from tunesmith.contracts.method import Attached, Method
from tunesmith.errors import UserError, did_you_mean
from tunesmith.interop.folders import attach_folder, filled
from tunesmith.methods.given import given
from tunesmith.methods.insert import place


@runtime_checkable
class Removable(Protocol):
    """What a method must offer beside ``Attached`` to share a model with others."""

    def remove(self) -> None:
        """Leave the model; the base is what it was."""
        ...

    def insert(self) -> None:
        """Come back, on top of whatever is there now."""
        ...


class Adapters:
    """Named adapters of one model. Its parameters are all frozen except those of the one that is trained."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.active: tuple[str, ...] = ()
        """Names of the adapters in the model, in the order they were put in."""
        self.train: str | None = None
        """Name of the one that is trained."""
        self._all: dict[str, Attached] = {}
        model.requires_grad_(False)

    @property
    def names(self) -> tuple[str, ...]:
        """All adapters, in the order of their coming."""
        return tuple(self._all)

    def __getitem__(self, name: str) -> Attached:
        """The adapter itself: its groups, its penalty."""
        self._refuse_unknown(name)
        return self._all[name]

    def add(self, name: str, method: Method | str, *, heads: Sequence[str] = ()) -> Attached:
        """Put ``method`` on the plain base as ``name``; it is then active alone, and trained.

        ``method`` may be a method's name alone. Raises ``UserError``: ``name-taken``, ``cannot-share``,
        ``not-a-method``, and what the method raises.
        """
        chosen = given(method)
        return self._join(name, lambda: chosen.attach(self.model, heads=heads), train=True)

    def load(self, name: str, folder: str | Path, *, method: Method | None = None) -> Attached:
        """Read a stored adapter as ``name``; it is then active alone, and frozen.

        ``method`` is what it was trained with, for kinds whose folder does not say enough to do without. Raises
        ``UserError``: ``name-taken``, ``cannot-share``, and what reading raises.
        """

        def read() -> Attached:
            if method is None:
                return attach_folder(self.model, Path(folder))
            return filled(method.attach(self.model), Path(folder))

        return self._join(name, read, train=False)

    def set(self, *names: str, train: str | Literal[False] | None = None) -> None:
        """Have exactly ``names`` active, put in in that order (none: the plain base), and train one of them or none.

        ``train`` names the one; without it a single active adapter is trained, and none of several. ``train=False``
        freezes them all. Raises ``UserError``: ``unknown-adapter``, ``named-twice``, ``not-active``,
        ``same-parameters``.
        """
        if train is None:
            train = len(names) == 1 and names[0]
        for name in (*names, *([train] if train else [])):
            self._refuse_unknown(name)
        if len(set(names)) < len(names):
            raise UserError("an adapter is named twice", got=names, code="named-twice")
        if train and train not in names:
            raise UserError("only an active adapter can be trained", got=train, allowed=names, code="not-active")
        self._refuse_clash(names)
        self._clear()
        for name in names:
            self._all[name].insert()  # type: ignore[attr-defined]
            self.active = (*self.active, name)
        self.train = train or None
        for name in self._all:
            _require_gradients(self._parameters(name), False)
        _require_gradients(self.trained_parameters(), True)

    set_adapter = set  # noqa: A003 - the method above, as meant
    """PEFT's word."""

    @contextmanager
    def use(self, *names: str) -> Iterator[None]:
        """Within it exactly ``names`` are active and frozen; afterwards all is as it was."""
        before, train = self.active, self.train
        self.set(*names, train=False)
        try:
            yield
        finally:
            self.set(*before, train=train or False)

    def trained_parameters(self) -> list[nn.Parameter]:
        """Those of the adapter that is trained: what an optimizer is given."""
        return self._parameters(self.train) if self.train else []

    def save(self, name: str, folder: str | Path) -> None:
        """Write ``name`` into ``folder``, as it is now."""
        self._refuse_unknown(name)
        with self.use(name):
            groups = self._all[name].groups()
            values = {key: parameter.detach() for group in groups for key, parameter in group.parameters.items()}
            self._all[name].save(Path(folder), values)

    def remove(self, name: str) -> None:
        """Forget ``name``; the others stay as they are."""
        self._refuse_unknown(name)
        rest = [other for other in self.active if other != name]
        self.set(*rest, train=self.train if self.train in rest else False)
        del self._all[name]

    def merge(self, name: str) -> nn.Module:
        """Fuse ``name`` into the base and return the plain model; no adapter is left.

        Raises ``UserError`` ``cannot-merge`` where the method cannot, or while there are others: they were trained on
        a base that would be gone.
        """
        self._refuse_unknown(name)
        others = [other for other in self._all if other != name]
        if others:
            raise UserError(
                "merging changes the base, and other adapters were trained on it as it is",
                got=f"also here: {', '.join(others)}",
                hint="Save them and take them out with `remove` first.",
                code="cannot-merge",
            )
        self.set(name, train=False)
        merged = self._all[name].merge()
        self._all, self.active = {}, ()
        return merged

    def _join(self, name: str, attach: Callable[[], Attached], *, train: bool) -> Attached:
        if name in self._all:
            raise UserError(
                "there is an adapter of this name already",
                got=f"'{name}'",
                hint="Take another name, or `remove` it first.",
                code="name-taken",
            )
        before, trained = self.active, self.train
        self.set()
        modules = dict(self.model.named_modules())
        try:
            attached = attach()
            _refuse_lasting(attached, self.model, modules)
        except UserError:
            _put_back(self.model, modules)
            self.set(*before, train=trained or False)
            raise
        self._all[name] = attached
        self.set(name, train=train and name)
        return attached

    def _clear(self) -> None:
        for name in reversed(self.active):
            self._all[name].remove()  # type: ignore[attr-defined]
        self.active = ()

    def _parameters(self, name: str) -> list[nn.Parameter]:
        return [parameter for group in self._all[name].groups() for parameter in group.parameters.values()]

    def _refuse_clash(self, names: Sequence[str]) -> None:
        """Two adapters that train the same parameter of the base (a bias, a head) have no sum."""
        owner: dict[int, str] = {}
        for name in names:
            for parameter in self._parameters(name):
                other = owner.setdefault(id(parameter), name)
                if other != name:
                    raise UserError(
                        "two adapters that change the same parameter of the base cannot be active together",
                        got=f"{other} and {name}",
                        hint="Use them one at a time, or train them without biases and heads of the base.",
                        code="same-parameters",
                    )

    def _refuse_unknown(self, name: str) -> None:
        if name not in self._all:
            raise UserError(
                "there is no adapter of this name",
                got=f"'{name}'",
                allowed=list(self._all) or "none yet: `add` or `load` one",
                hint=did_you_mean(name, self._all),
                code="unknown-adapter",
            )


def _require_gradients(parameters: Sequence[nn.Parameter], required: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(required)


def _refuse_lasting(attached: Attached, model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """Take ``attached`` out again; a ``UserError`` where it cannot leave, or leaves another base than ``modules``."""
    if isinstance(attached, Removable):
        attached.remove()
        if dict(model.named_modules()) == modules:
            return
    raise UserError(
        "this method changes the base itself, so it cannot share it with adapters",
        got=type(attached).__name__,
        allowed="methods that add something to a frozen base, such as lora or adapter",
        code="cannot-share",
    )


def _put_back(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """Have every module where it was, all frozen."""
    for path, module in modules.items():
        if path and model.get_submodule(path) is not module:
            place(model, path, module)
    model.requires_grad_(False)
