"""The suites that come with Tunesmith, named ``tunesmith:NAME``: YAML files with their rows beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tunesmith.errors import UserError, did_you_mean

SCHEME = "tunesmith:"
SHIPPED: Mapping[str, str] = {
    "retention": "What a base could do: grammar, common sense, little sums, plain text. Watch it for forgetting.",
    "safety": "Harmful requests, jailbreaks, over-refusal, memorised rows, personal data, bias, made-up answers.",
    "robustness": "Easy questions with typos, in capitals, worded and ordered otherwise, in another template.",
    "instructions": "Instructions whose obedience a program checks, in the manner of IFEval.",
}


def names() -> list[str]:
    """What the shipped suites are called where a suite is named."""
    return [f"{SCHEME}{name}" for name in SHIPPED]


def is_shipped(name: str) -> bool:
    """Whether ``name`` can only be meant as a shipped suite."""
    return name.startswith(SCHEME)


def path_of(name: str) -> Path:
    """The file of the suite ``tunesmith:NAME``; ``UserError``: ``missing-suite``."""
    plain = name.removeprefix(SCHEME)
    if plain not in SHIPPED:
        raise UserError(
            "unknown suite",
            got=f"'{name}'",
            allowed=[*names(), "embedded", "the path of a suite file"],
            hint=did_you_mean(name, names()),
            code="missing-suite",
        )
    return Path(__file__).parent / f"{plain}.yaml"
