"""Requests to a model, kept as words in a YAML file, and files of principles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError, did_you_mean
from tunesmith.recipe.yaml12 import read_yaml

SHIPPED = "shipped"
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Principle:
    """What an answer is held to: how a critique is asked for, and a revision."""

    name: str
    critique: str
    revision: str


def shipped(name: str) -> Path:
    """A file that comes with Tunesmith."""
    return Path(str(files("tunesmith.making") / "templates" / name))


def filled(text: str, /, **values: str) -> str:
    """``text`` with each ``{name}`` replaced once; braces inside of values stay."""
    return _SLOT.sub(lambda slot: values.get(slot[1], slot[0]), text)


def read_templates(path: str, name: str, needed: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The texts of the file ``path`` (``shipped``: the file ``name``), by their keys.

    ``needed`` says which keys there are, and what must stand in each. Raises ``UserError`` (``bad-templates``).
    """
    file = shipped(name) if path == SHIPPED else Path(path).expanduser()
    values = _read(file, "bad-templates")
    if not isinstance(values, dict) or any(not isinstance(values.get(key), str) for key in needed):
        raise UserError(
            f"{file} is no file of templates",
            got=list(values) if isinstance(values, dict) else type(values).__name__,
            allowed=f"texts under {' and '.join(needed)}",
            code="bad-templates",
        )
    for key, slots in needed.items():
        known = set(_SLOT.findall(values[key]))
        lacks = [slot for slot in slots if slot not in known]
        if lacks:
            raise UserError(
                f"the template '{key}' in {file} has no place for {' and '.join(lacks)}",
                got=sorted(known),
                allowed=[f"{{{slot}}}" for slot in slots],
                hint=did_you_mean(lacks[0], known),
                code="bad-templates",
            )
    return {key: values[key] for key in needed}


def read_lists(path: str, name: str, needed: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Lists of templates of the file ``path`` (``shipped``: the file ``name``) by their keys.

    A file of one's own may lack keys: those of the shipped one stand in. ``needed`` says what must stand in each
    template of a key. Raises ``UserError`` (``bad-templates``).
    """
    own = shipped(name) if path == SHIPPED else Path(path).expanduser()
    found: dict[str, list[str]] = {}
    for file in dict.fromkeys((shipped(name), own)):
        values = _read(file, "bad-templates")
        known = [key for key in needed if isinstance(values, dict) and key in values]
        if not known or any(not _texts(values[key]) for key in known):
            raise UserError(
                f"{file} is no file of templates",
                got=list(values) if isinstance(values, dict) else type(values).__name__,
                allowed=f"lists of texts under {' or '.join(needed)}",
                code="bad-templates",
            )
        found |= {key: values[key] for key in known}
    for key, texts in found.items():
        for text in texts:
            lacks = [slot for slot in needed[key] if slot not in _SLOT.findall(text)]
            if lacks:
                what = f"a template under '{key}' in {own} has no place for {' and '.join(lacks)}"
                raise UserError(what, got=text, allowed=[f"{{{slot}}}" for slot in needed[key]], code="bad-templates")
    return found


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) and one.strip() for one in value)


def read_principles(path: str) -> list[Principle]:
    """The principles of a YAML file: a list, or a list under ``principles``. Raises ``UserError``
    (``bad-principles``)."""
    file = shipped("principles.yaml") if path == SHIPPED else Path(path).expanduser()
    values = _read(file, "bad-principles")
    found = values.get("principles") if isinstance(values, dict) else values
    if not isinstance(found, list) or not found:
        raise UserError(
            f"{file} holds no principles",
            got=type(found).__name__,
            allowed="a list of sentences, or of {name, critique, revision}",
            code="bad-principles",
        )
    return [_principle(one, number, file) for number, one in enumerate(found, start=1)]


def _principle(value: Any, number: int, file: Path) -> Principle:
    if isinstance(value, str) and value.strip():
        text = value.strip()
        return Principle(
            str(number),
            f"Say in what way the answer breaks this principle: {text}",
            f"Revise the answer so that it keeps this principle: {text}",
        )
    wanted = ("critique", "revision")
    if isinstance(value, dict) and all(isinstance(value.get(key), str) and value[key].strip() for key in wanted):
        return Principle(str(value.get("name", number)), value["critique"].strip(), value["revision"].strip())
    raise UserError(
        f"principle {number} in {file} cannot be read",
        got=str(value),
        allowed="a sentence, or {name, critique, revision} with two texts",
        code="bad-principles",
    )


def _read(file: Path, code: str) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}", code=code) from None
    return read_yaml(text, str(file))
