"""The same questions before and after, chosen to show what was learned, what was not, and what was lost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tunesmith.report.documents import Traced, pointer
from tunesmith.report.markup import number, tag, text
from tunesmith.report.page import Section
from tunesmith.report.run_facts import RunFacts
from tunesmith.report.words import name_of

SHOWN = 8
KINDS = ("learned", "lost", "still wrong", "right before and after")
COLOURS = {"learned": "good", "lost": "bad", "still wrong": "warn", "right before and after": ""}
EXACT, OFTEN = "exact_match", 0.05
RIGHT = 0.5
"""From this score on an answer counts as right."""
_TURN = re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", re.S)


def samples(facts: RunFacts) -> Section | None:
    """Up to ``SHOWN`` questions with what was wanted and what came."""
    before, after = (facts.get(f"eval/{when}.json", "answers") or [] for when in ("before", "after"))
    if not after:
        return None
    metric = _metric(after)
    paired = len(before) == len(after)
    groups: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for place, one in enumerate(after):
        first = before[place]["scores"][metric] if paired else 0.0
        groups[_kind(first, one["scores"][metric])].append(place)
    chosen = _chosen(groups)
    cards = [_card(facts, place, kind, paired=paired) for kind, place in chosen]
    counts = [
        tag("span", kind, " ", number(_count(facts, groups[kind], metric)), class_=f"badge {COLOURS[kind]}")
        for kind in KINDS
        if groups[kind] and (paired or kind not in KINDS[1:])
    ]
    right = "equal to the wanted answer" if metric == EXACT else f"a score of at least one half in {name_of(metric)}"
    lead = f"Held-out questions. Right means {right}."
    return Section("answers", "Its answers", tag("p", *_spaced(counts)) + tag("div", *cards, class_="answers"), lead)


def _metric(answers: Sequence[Mapping[str, Any]]) -> str:
    """What tells right from wrong: equality where some answers reach it, otherwise the overlap of words."""
    scores: Mapping[str, float] = answers[0]["scores"]
    if sum(one["scores"].get(EXACT, 0.0) for one in answers) >= OFTEN * len(answers):
        return EXACT
    return "f1" if "f1" in scores else next(iter(scores))


def _kind(before: float, after: float) -> str:
    if after >= RIGHT:
        return "learned" if before < RIGHT else "right before and after"
    return "lost" if before >= RIGHT else "still wrong"


def _chosen(groups: Mapping[str, Sequence[int]]) -> list[tuple[str, int]]:
    """Some of each kind: three learned, two of each other, spread over all rows, and more of what there is."""
    wanted = {"learned": 3, "lost": 2, "still wrong": 2, "right before and after": 1}
    found: list[tuple[str, int]] = []
    for kind, some in wanted.items():
        places = groups[kind]
        step = max(1, len(places) // some)
        found += [(kind, place) for place in places[::step][:some]]
    spare = [(kind, place) for kind in KINDS for place in groups[kind] if (kind, place) not in found]
    return sorted(found + spare[: max(0, SHOWN - len(found))], key=lambda one: (KINDS.index(one[0]), one[1]))


def _card(facts: RunFacts, place: int, kind: str, *, paired: bool) -> Markup:
    def said(when: str, key: str) -> Traced | None:
        return facts.traced(f"eval/{when}.json", "answers", place, key)

    wanted = _side("wanted", said("after", "reference"))
    after = _side("tuned model", said("after", "answer"))
    sides = [wanted, _side("base", said("before", "answer")), after] if paired else [wanted, after]
    badge = tag("span", kind, class_=f"badge {COLOURS[kind]}") if paired else None
    asked = said("after", "prompt")
    assert asked is not None
    turn = Traced(question(str(asked.value)), asked.sources)
    return tag(
        "div", tag("p", badge), text_in(turn, "p", class_="asked"), tag("div", *sides, class_="sides"), class_="answer"
    )


def text_in(found: Traced, name: str, *, class_: str | None = None) -> Markup:
    """A text that is part of the one in its file."""
    return tag(name, str(found.value), data_from=" ".join(found.sources), data_part=True, class_=class_)


def _side(name: str, said: Traced | None) -> Markup:
    empty = said is None or not str(said.value).strip()
    answer = tag("p", "nothing", class_="absent") if empty else text(said, name="p")
    return tag("div", tag("div", name, class_="name"), answer, class_="side")


def question(prompt: str) -> str:
    """The last turn of the user where its marks are known, otherwise the prompt as it is."""
    turns = _TURN.findall(prompt)
    return turns[-1].strip() if turns else prompt.strip()


def _count(facts: RunFacts, places: Sequence[int], metric: str) -> Traced:
    file = facts.newest("eval/after.json")
    return Traced(len(places), tuple(pointer(file, "answers", place, "scores", metric) for place in places), "count")


def _spaced(found: Sequence[Any]) -> list[Any]:
    return [item for one in found for item in (one, " ")]
