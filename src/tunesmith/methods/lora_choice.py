"""What of a model LoRA's options name: layers by index, ranks and alphas by pattern, modules kept whole.

Patterns follow PEFT: a regular expression fits a path that it matches to the end, from the start or from a dot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import nn

from tunesmith.errors import UserError, did_you_mean

Value = TypeVar("Value")


def matched(patterns: Mapping[str, Value], path: str, default: Value) -> Value:
    """The value of the first pattern that fits ``path``."""
    return next((value for pattern, value in patterns.items() if _fits(pattern, path)), default)


def check_patterns(patterns: Mapping[str, object], paths: Sequence[str], option: str) -> None:
    """A ``UserError`` (``unknown-pattern``) for a pattern that is none or that fits no adapted layer."""
    for pattern in patterns:
        try:
            found = any(_fits(pattern, path) for path in paths)
        except re.error as error:
            raise UserError(
                f"{option} holds what is no regular expression: {error}", got=pattern, code="unknown-pattern"
            ) from error
        if not found:
            endings = sorted({path.rpartition(".")[2] for path in paths})
            raise UserError(
                f"a pattern of {option} fits no adapted layer",
                got=pattern,
                allowed=f"regular expressions for the end of a path, such as {paths[0]}",
                hint=did_you_mean(pattern, endings),
                code="unknown-pattern",
            )


def in_layers(paths: Sequence[str], layers: Sequence[int] | None) -> list[str]:
    """Those of ``paths`` whose first number, the index of their block, is in ``layers``; all where that is None."""
    if layers is None:
        return list(paths)
    numbers = {path: int(found[1]) for path in paths if (found := re.search(r"\.(\d+)\.", f".{path}."))}
    present = sorted(set(numbers.values()))
    absent = sorted(set(layers) - set(present))
    if absent or not layers:
        raise UserError(
            "layers names a block without any target" if layers else "layers is empty, so nothing would be trained",
            got=absent or None,
            allowed=present,
            code="unknown-layer",
        )
    return [path for path in paths if numbers.get(path) in set(layers)]


def resolve_modules(model: nn.Module, names: Sequence[str], heads: Sequence[str], adapted: Sequence[str]) -> list[str]:
    """Paths of the modules that are trained whole: ``heads``, then those that ``names`` (paths or their ends) name.

    Raises ``UserError``: ``unknown-module``; ``saved-and-adapted`` where a module holds or is an adapted layer;
    ``tied-module`` where it shares a weight with one that is not named.
    """
    modules = [path for path, _ in model.named_modules(remove_duplicate=False) if path]
    found = list(heads)
    for name in names:
        fitting = [path for path in modules if path == name or path.endswith(f".{name}")]
        if not fitting:
            endings = sorted({path.rpartition(".")[2] for path in modules})
            raise UserError(
                "modules_to_save names a module that this model does not have",
                got=f"'{name}'",
                hint=did_you_mean(name, endings),
                code="unknown-module",
            )
        found += [path for path in fitting if path not in found]
    for path in found:
        inner = next((layer for layer in adapted if _inside(layer, path) or _inside(path, layer)), None)
        if inner:
            raise UserError(
                f"{path} would be trained whole, and {inner} would be adapted",
                hint=f"Leave one of them out of modules_to_save or targets ({path}, {inner}).",
                code="saved-and-adapted",
            )
    _refuse_half_of_tied(model, found)
    return found


def _refuse_half_of_tied(model: nn.Module, paths: Sequence[str]) -> None:
    holders: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        holders.setdefault(id(parameter), []).append(name)
    for names in holders.values():
        inside = [name for name in names if any(_inside(name, path) for path in paths)]
        outside = [name.rpartition(".")[0] for name in names if name not in inside]
        if inside and outside:
            raise UserError(
                f"{inside[0].rpartition('.')[0]} shares its weight with {' and '.join(outside)}",
                got=list(paths),
                allowed="all modules that share a weight, which stays shared, or none of them",
                hint=f"Add {' and '.join(outside)} to modules_to_save.",
                code="tied-module",
            )


def _fits(pattern: str, path: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", path) is not None


def _inside(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")
