"""Instructions whose obedience a program can check, in the manner of IFEval (Zhou et al. 2023, arXiv:2311.07911).

``CHECKS`` maps the names that rows use to functions ``(answer, **options) -> bool``; an answer that is empty follows
nothing. A row names its instructions:

    {"prompt": "Name three colours in lower case, as a list.",
     "instructions": [{"check": "bullets", "exactly": 3}, {"check": "lowercase"}]}
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.errors import did_you_mean
from tunesmith.metrics.instructions import forms, wording

Check = Callable[..., bool]
CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        wording.words,
        wording.sentences,
        wording.characters,
        wording.contains,
        wording.contains_any,
        wording.avoids,
        wording.word_count,
        wording.letter_count,
        wording.starts_with,
        wording.ends_with,
        wording.first_word,
        wording.last_word,
        wording.lowercase,
        wording.uppercase,
        wording.capital_words,
        wording.no_commas,
        wording.no_digits,
        wording.question,
        wording.script,
        wording.number_between,
        forms.paragraphs,
        forms.paragraph_starts,
        forms.bullets,
        forms.numbered,
        forms.lines,
        forms.sections,
        forms.highlights,
        forms.placeholders,
        forms.title,
        forms.postscript,
        forms.quoted,
        forms.json_object,
        forms.code_block,
        forms.one_of,
        forms.two_answers,
        forms.repeats,
    )
}


def trouble(instruction: Any) -> str | None:
    """Why ``instruction`` cannot be checked; None where it can."""
    if not isinstance(instruction, Mapping) or not isinstance(instruction.get("check"), str):
        return "an instruction is {check: NAME, …}"
    name = instruction["check"]
    if name not in CHECKS:
        return f"there is no check '{name}'. {did_you_mean(name, CHECKS) or 'Known: ' + ', '.join(CHECKS)}"
    known = list(inspect.signature(CHECKS[name]).parameters)[1:]
    for option in _options(instruction):
        if option not in known:
            near = did_you_mean(option, known) or f"It takes: {', '.join(known) or 'nothing'}"
            return f"the check '{name}' has no option '{option}'. {near}"
    try:
        CHECKS[name]("text", **_options(instruction))
    except (TypeError, ValueError) as error:
        return f"the check '{name}' cannot be used so: {error}"
    return None


def followed(instruction: Mapping[str, Any], answer: str) -> bool:
    """Whether ``answer`` follows an instruction that ``trouble`` has nothing against."""
    return bool(answer.strip()) and CHECKS[instruction["check"]](answer, **_options(instruction))


def _options(instruction: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in instruction.items() if name != "check"}
