"""From pydantic's errors to one sentence a user can act on: which option, what was given, what is allowed.

The trap: pydantic's locations name the members of unions (``validation.constrained-float``), which no user wrote, and a
union reports one error for every member. Locations are therefore walked along the model's own fields, and what several
members say about one option is told once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from tunesmith.errors import UserError, did_you_mean

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a group of options",
    "mapping": "a group of options",
    "model": "a group of options",
    "none": "null",
    "path": "a path",
}
_BOUNDS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}


@dataclass(frozen=True)
class Problem:
    """One option that is wrong; the fields are those of ``UserError``."""

    path: str
    what: str
    got: object = None
    allowed: object = None
    hint: str | None = None
    code: str = "invalid-value"

    def joined(self, other: Problem) -> Problem:
        """What two members of a union say about one option (``a number or a list``)."""
        choices = list(dict.fromkeys(str(item.allowed) for item in (self, other) if item.allowed is not None))
        first = self if self.code == "out-of-range" or other.code != "out-of-range" else other
        return replace(first, allowed=" or ".join(choices) or None, hint=self.hint or other.hint)


def as_user_error(error: ValidationError, model: type[BaseModel], where: str = "") -> UserError:
    """The first problem in ``error`` as a ``UserError``, the others in its hint; ``where`` is put before every path."""
    problems = sorted(_problems(error, model, where), key=lambda problem: problem.code != "unknown-key")
    first, others = problems[0], problems[1:]
    also = f"Also: {'; '.join(problem.what for problem in others)}." if others else None
    hint = " ".join(text for text in (first.hint, also) if text) or None
    return UserError(first.what, got=first.got, allowed=first.allowed, hint=hint, code=first.code)


def _problems(error: ValidationError, model: type[BaseModel], where: str) -> list[Problem]:
    by_path: dict[str, Problem] = {}
    for details in error.errors(include_url=False):
        problem = _problem(details, model, where)
        known = by_path.get(problem.path)
        by_path[problem.path] = known.joined(problem) if known else problem
    # where one member of a union found the place inside, "not a number" about the whole says nothing
    return [
        problem
        for path, problem in by_path.items()
        if not (path and any(other.startswith(f"{path}.") for other in by_path))
    ]


def _problem(details: Any, model: type[BaseModel], where: str) -> Problem:
    keys, owner = _walk(details["loc"], model, unknown_last=details["type"] == "extra_forbidden")
    path = ".".join([*([where] if where else []), *keys])
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    name = path or "this group of options"
    if kind == "extra_forbidden":
        hint = _closest(keys[-1], owner, model)
        return Problem(
            path, f"unknown option {name}", allowed=sorted(owner.model_fields), hint=hint, code="unknown-key"
        )
    if kind == "too_long" and context.get("max_length") == 0:
        return Problem(path, f"{name} is not available yet", repr(given), "nothing", "Leave it out.", "not-available")
    if kind == "missing":
        return Problem(path, f"{name} is missing", hint=_misspelt(keys[-1:], given, owner), code="missing-value")
    if kind == "union_tag_not_found":
        tag = str(context["discriminator"]).strip("'")
        return Problem(
            path, f"{name} lacks `{tag}`, which says what it is", hint=_misspelt([tag], given), code="missing-value"
        )
    if kind == "union_tag_invalid":
        given, context = context["tag"], {"expected": context["expected_tags"]}
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        allowed = str(context.get("expected"))
        hint = did_you_mean(str(given), [word.strip("' ") for word in allowed.replace(" or ", ",").split(",")])
        return Problem(path, f"{name} is not one of its choices", repr(given), allowed, hint, "not-a-choice")
    bounds = [f"{_BOUNDS[key]} {value}" for key, value in context.items() if key in _BOUNDS]
    if bounds:
        return Problem(path, f"{name} is out of range", repr(given), bounds[0], code="out-of-range")
    expected = _TYPES.get(kind.split("_")[0])
    if expected:
        return Problem(path, f"{name} has the wrong type", repr(given), expected, code="wrong-type")
    return Problem(path, f"{name}: {details['msg'].removeprefix('Value error, ')}", repr(given))


def _walk(
    location: tuple[int | str, ...], model: type[BaseModel], *, unknown_last: bool
) -> tuple[list[str], type[BaseModel]]:
    """The keys of ``location`` that a user wrote, and the model that holds the last of them."""
    keys: list[str] = []
    owners, owner, in_dict = [model], model, False
    for index, item in enumerate(location):
        holder = next((candidate for candidate in owners if item in candidate.model_fields), None)
        if holder is not None:
            annotation = holder.model_fields[str(item)].annotation
            keys.append(str(item))
            owner, owners, in_dict = holder, list(_models(annotation)), _holds_dict(annotation)
        elif isinstance(item, int) or in_dict:
            keys.append(str(item))
        elif unknown_last and index == len(location) - 1:
            keys.append(item)
            owner = owners[0] if owners else owner
    return keys, owner


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _holds_dict(annotation: Any) -> bool:
    return get_origin(annotation) is dict or any(_holds_dict(argument) for argument in get_args(annotation))


def _misspelt(wanted: list[str], given: Any, owner: type[BaseModel] | None = None) -> str | None:
    """A suggestion where what is missing was written with another spelling."""
    written = [str(key) for key in given] if isinstance(given, dict) else []
    strange = [key for key in written if owner is None or key not in owner.model_fields]
    near = difflib.get_close_matches(wanted[0], strange, n=1) if wanted else []
    return f"What is written '{near[0]}' is spelt '{wanted[0]}'." if near else None


def _closest(key: str, owner: type[BaseModel], root: type[BaseModel]) -> str | None:
    """A suggestion: the same key at its right place, else the closest key beside it."""
    places = [path for path in _paths(root) if path.rpartition(".")[2] == key]
    return f"Did you mean '{places[0]}'?" if places else did_you_mean(key, owner.model_fields)


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in _models(field.annotation):
            if get_origin(field.annotation) is not list:
                yield from _paths(inner, f"{prefix}{name}.")
