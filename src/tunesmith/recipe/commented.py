"""A recipe file for people: every option with its help as a comment, only the ones worth touching switched on."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from tunesmith.recipe.reference import group_of
from tunesmith.recipe.yaml12 import write_yaml


def commented(model: type[BaseModel], chosen: Mapping[str, Any], reasons: Mapping[str, str] | None = None) -> str:
    """YAML text of ``model``: options in ``chosen`` (by dotted path) carry values, all others are commented out.

    ``reasons`` (by dotted path) say why a value was chosen; they stand between its help and the value.
    """
    return "\n".join(_lines(model, chosen, reasons or {}, "", 0)).strip() + "\n"


def _lines(
    model: type[BaseModel], chosen: Mapping[str, Any], reasons: Mapping[str, str], prefix: str, depth: int
) -> Iterator[str]:
    indent = "  " * depth
    for name, field in model.model_fields.items():
        path = prefix + name
        group = group_of(field.annotation)
        if group is not None:
            live = any(key.startswith(path + ".") for key in chosen)
            yield ""
            yield from _comment(inspect.getdoc(group) or "", indent)
            yield f"{indent}{'' if live else '# '}{name}:"
            yield from _lines(group, chosen, reasons, path + ".", depth + 1)
            continue
        if depth == 0:
            yield ""
        yield from _comment(field.description or "", indent)
        yield from _comment(reasons.get(path, ""), indent)
        value = chosen.get(path, _plain(field.get_default(call_default_factory=True)))
        entry = write_yaml({name: value}).splitlines()
        yield from (f"{indent}{'' if path in chosen else '# '}{line}" for line in entry)


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}" for line in textwrap.wrap(" ".join(text.split()), 110 - len(indent))]


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value
