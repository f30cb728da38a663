"""Dotted overrides such as ``train.epochs=2``, applied to the plain values of a recipe before they are checked.

The right-hand side is YAML, read by the rules of the file. A number in the path is a place in a list. A part can be
named (``method=full`` replaces all of it) or changed in one field (``method.rank=8`` keeps the rest).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tunesmith.errors import UserError
from tunesmith.recipe.yaml12 import read_yaml


def apply_overrides(values: dict[str, Any], overrides: Iterable[str], parts: Mapping[str, str]) -> dict[str, Any]:
    """``values`` with each ``a.b=c`` set; ``parts`` gives the default name of each pluggable part by its key."""
    result = values
    for override in overrides:
        path, text = _parsed(override)
        keys = path.split(".")
        if keys[0] in parts and len(keys) > 1:
            result = {**result, keys[0]: _as_fields(result.get(keys[0], parts[keys[0]]))}
        result = _set(result, keys, read_yaml(text, f"override '{override}'"), path)
    return result


def _parsed(override: str) -> tuple[str, str]:
    path, equals, text = override.partition("=")
    path = path.strip().removeprefix("--")
    if not equals or not all(path.split(".")):
        raise UserError(
            "an override is not of the form a.b=c",
            got=f"'{override}'",
            hint="For example: train.epochs=2 method.rank=8 data.train.0.weight=2",
            code="bad-override",
        )
    return path, text


def _as_fields(part: Any) -> Any:
    return {"name": part} if isinstance(part, str) else part


def _set(container: Any, keys: list[str], value: Any, path: str) -> Any:
    """A copy of ``container`` with ``value`` at ``keys``."""
    key, rest = keys[0], keys[1:]
    if container is None:
        container = [] if key.isdigit() else {}
    if isinstance(container, dict):
        return {**container, key: _set(container.get(key), rest, value, path) if rest else value}
    if isinstance(container, list):
        return _set_item(container, keys, value, path)
    raise UserError(
        f"override {path}: '{key}' is asked of a plain value",
        got=repr(container),
        allowed="a path through groups and lists that ends at one option",
        code="bad-override",
    )


def _set_item(items: list[Any], keys: list[str], value: Any, path: str) -> list[Any]:
    key, rest = keys[0], keys[1:]
    if not key.isdigit() or int(key) > len(items):
        raise UserError(
            f"override {path}: no such place in a list of {len(items)}",
            got=f"'{key}'",
            allowed=f"0 to {len(items)} ({len(items)} adds one at the end)",
            code="bad-override",
        )
    index = int(key)
    old = items[index] if index < len(items) else None
    return [*items[:index], _set(old, rest, value, path) if rest else value, *items[index + 1 :]]
