"""A file with defects of known kinds in known lines, among rows that have none."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any


def listed(text: str) -> list[str]:
    return text.split()


NOUNS = listed(
    "river garden teacher letter window market doctor village engine bridge winter summer kitchen forest painter story "
    "machine island student city mountain school question harbour camera theatre lesson journey paper factory museum "
    "blanket farmer valley novel orchard railway tailor lantern"
)
VERBS = listed(
    "finds builds opens carries watches follows paints reads writes sells repairs describes visits crosses keeps "
    "remembers changes explains measures protects"
)
WAYS = listed("slowly often quietly again together early carefully gladly seldom today yesterday here")
ADJECTIVES = listed("old small bright quiet heavy narrow green busy famous simple warm broken distant gentle")
FOUL = listed("fucking sh1t b*tch asshole")
REFUSALS = (
    "As an AI language model, I do not have personal preferences.",
    "I'm sorry, but I cannot help with that request.",
    "I am unable to assist with this.",
    "Sorry, I can't do that for you.",
    "I'm just an AI and have no opinions about it.",
)
THRESHOLD = 0.75
SECRETS = ("email", "phone", "iban", "credit-card", "ip", "api-key", "ssn")
LEVELS = (0.95, 0.9, 0.85, 0.8, 0.6)
"""Jaccard similarities at which copies are planted; those of the last are no near duplicates."""


@dataclass
class Planted:
    """``rows`` as they stand in the file, ``lines`` of each kind of defect (from 1), texts of a test set."""

    rows: list[Any] = field(default_factory=list)
    lines: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    exam: list[dict[str, str]] = field(default_factory=list)

    def add(self, row: Any, *kinds: str) -> None:
        self.rows.append(row)
        for kind in kinds:
            self.lines[kind].add(len(self.rows))

    def text(self) -> str:
        return "".join(
            (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in self.rows
        )


class Writer:
    """Sentences of plain English words, no two alike."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def sentence(self) -> str:
        pick = self.random.choice
        return (
            f"The {pick(ADJECTIVES)} {pick(NOUNS)} {pick(VERBS)} the {pick(ADJECTIVES)} {pick(NOUNS)} of the "
            f"{pick(NOUNS)} {pick(WAYS)}."
        )

    def text(self, sentences: int) -> str:
        return " ".join(self.sentence() for _ in range(sentences))

    def row(self) -> dict[str, str]:
        return {"instruction": f"Tell me: {self.sentence()}", "output": self.text(self.random.randint(3, 8))}

    def changed(self, text: str, share: float) -> str:
        words = text.split()
        for place in self.random.sample(range(len(words)), max(1, round(share * len(words)))):
            words[place] = self.random.choice(NOUNS)
        return " ".join(words)

    def alike(self, row: dict[str, str], wanted: float) -> dict[str, str]:
        """``row`` with words of its answer changed until the Jaccard similarity of word pairs is just ``wanted``."""
        words, places = row["output"].split(), list(range(len(row["output"].split())))
        self.random.shuffle(places)
        best = row
        for place in places:
            words[place] = self.random.choice(NOUNS)
            changed = {**row, "output": " ".join(words)}
            if jaccard_of(row, changed) < wanted:
                break
            best = changed
        return best

    def secret(self, kind: str) -> str:
        digits = "".join(self.random.choices("123456789", k=10))
        return {
            "email": f"{self.random.choice(NOUNS)}.{digits[:3]}@mail-{digits[3]}.example.org",
            "phone": self.random.choice([f"+49 30 {digits[:7]}", f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"]),
            "iban": iban(f"{digits}{digits[:8]}"),
            "credit-card": card(f"4{digits}{digits[:4]}"),
            "ip": f"{digits[0]}{digits[1]}.{digits[2]}.{digits[3]}.{digits[4:6]}",
            "ssn": f"{self.random.randint(100, 599)}-{digits[:2]}-{digits[2:6]}",
            "api-key": f"sk-{''.join(self.random.choices('abcdefghijkmnpqrstuvwxyz0123456789', k=40))}",
        }[kind]


def pairs_of(row: dict[str, str]) -> set[tuple[str, str]]:
    """Pairs of words that stand beside each other, in lower case and without signs."""
    words = "".join(sign if sign.isalnum() else " " for sign in " ".join(row.values()).lower()).split()
    return set(pairwise(words))


def jaccard_of(first: dict[str, str], second: dict[str, str]) -> float:
    one, other = pairs_of(first), pairs_of(second)
    return len(one & other) / len(one | other)


def iban(account: str) -> str:
    """A German number whose check digits hold."""
    check = 98 - int(account + "131400") % 97
    number = f"DE{check:02d}{account}"
    return " ".join(number[at : at + 4] for at in range(0, len(number), 4))


def card(digits: str) -> str:
    """15 digits and the check digit that Luhn's rule wants."""
    total = sum(
        int(sign) if place % 2 else sum(divmod(2 * int(sign), 10)) for place, sign in enumerate(reversed(digits))
    )
    number = f"{digits}{-total % 10}"
    return " ".join(number[at : at + 4] for at in range(0, 16, 4))


def planted(seed: int = 0, clean: int = 600, each: int = 40) -> Planted:
    """Clean rows with ``each`` rows of every defect after them, in an order that the seed decides."""
    writer, found = Writer(seed), Planted()
    rows: list[tuple[Any, tuple[str, ...]]] = [(writer.row(), ()) for _ in range(clean)]
    base = [row for row, _ in rows]
    # of few words no copy is as much alike as 0.95
    long = [{**writer.row(), "output": writer.text(10)} for _ in range(len(LEVELS) * each)]
    rows += [(row, ()) for row in long]
    exam = [{"question": f"Say why {writer.text(2)}", "answer": "yes"} for _ in range(each)]
    found.exam = exam
    for number in range(each):
        row = writer.row()
        rows.append(({**row, "output": row["output"].replace("e", "é").encode().decode("cp1252")}, ("mojibake",)))
        rows.append(({**writer.row(), "output": ""}, ("unreadable",)))
        rows.append((json.dumps(writer.row())[:-3], ("unreadable",)))
        rows.append(({**writer.row(), "output": writer.text(60)}, ("long",)))
        rows.append(
            ({**writer.row(), "output": REFUSALS[number % len(REFUSALS)] + " " + writer.sentence()}, ("refusal",))
        )
        rows.append(({**writer.row(), "output": (writer.sentence() + " ") * 8}, ("repetition",)))
        rows.append(
            (
                {**writer.row(), "output": f"You {FOUL[number % 4]}, {writer.text(3)}"},
                ("toxic",),
            )
        )
        for kind in SECRETS:
            secret = writer.secret(kind)
            rows.append(({**writer.row(), "output": f"{writer.text(2)} Here: {secret} {writer.sentence()}"}, (kind,)))
        asked = exam[number]["question"]
        kind = "leak" if number % 2 else "near-leak"
        text = writer.changed(asked, 0.05) if number % 2 == 0 else f"{writer.sentence()} {asked}"
        rows.append(({**writer.row(), "instruction": text}, (kind,)))
    writer.random.shuffle(rows)
    copies: list[tuple[Any, tuple[str, ...]]] = [
        ({**row, "output": row["output"].replace(" ", "  ", 3)}, ("exact",)) for row in writer.random.sample(base, each)
    ]
    for number, row in enumerate(long):
        level = LEVELS[number % len(LEVELS)]
        kind = "near" if level > THRESHOLD else "unlike"
        copies.append((writer.alike(row, level), (kind, f"{kind}-{level}")))
    for one, kinds in [*rows, *copies]:
        found.add(one, *kinds)
    return found


WRONG = (
    ("assistant", "user"),
    ("assistant", "user", "assistant"),
    ("user", "user", "assistant"),
    ("user", "assistant", "assistant"),
    ("user", "assistant", "user"),
    ("user", "narrator"),
    ("user", ""),
    ("user", "system", "assistant"),
    ("user", "tool", "assistant"),
    ("user",),
)
RIGHT = (("user", "assistant"), ("system", "user", "assistant"), ("user", "assistant", "user", "assistant"))


def chats(seed: int = 0, clean: int = 300, each: int = 50) -> Planted:
    """Conversations, with wrong roles, broken lines and copies of whole conversations."""
    writer, found = Writer(seed), Planted()

    def chat(roles: tuple[str, ...]) -> dict[str, Any]:
        return {"messages": [{"role": role, "content": writer.text(2)} for role in roles]}

    rows: list[tuple[Any, tuple[str, ...]]] = [(chat(RIGHT[number % 3]), ()) for number in range(clean)]
    rows += [(chat(WRONG[number % len(WRONG)]), ("roles",)) for number in range(each)]
    broken = [json.dumps(chat(RIGHT[0])) for _ in range(each)]
    cuts = (lambda text: text[: len(text) // 2], lambda text: text.replace(":", "", 1), lambda text: f"{text}}}")
    rows += [(cuts[number % 3](text), ("broken-json",)) for number, text in enumerate(broken)]
    copies = [(row, ("exact",)) for row, _ in writer.random.sample(rows[:clean], each)]
    writer.random.shuffle(rows)
    for one, kinds in [*rows, *copies]:
        found.add(one, *kinds)
    return found


def labelled(seed: int = 0, clean: int = 300, each: int = 50) -> Planted:
    """Labelled texts, of which some stand twice more with one other label, or once more with the same one."""
    writer, found = Writer(seed), Planted()
    rows = [{"text": writer.text(2), "label": writer.random.choice(["good", "bad"])} for _ in range(clean + 2 * each)]
    for row in rows:
        found.add(row)
    for row in rows[:each]:
        found.add(row, "copy")
        found.add({**row, "label": "good" if row["label"] == "bad" else "bad"}, "conflict")
    for row in rows[each : 2 * each]:
        found.add({**row, "text": row["text"].upper()}, "copy-in-capitals")
    return found
