"""A file with defects of known kinds in known lines, among rows that have none."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
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

    def secret(self, kind: str) -> str:
        digits = "".join(self.random.choices("123456789", k=10))
        return {
            "email": f"{self.random.choice(NOUNS)}.{digits[:3]}@mail-{digits[3]}.example.org",
            "phone": self.random.choice([f"+49 30 {digits[:7]}", f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"]),
            "iban": iban(f"{digits}{digits[:8]}"),
            "credit-card": card(f"4{digits}{digits[:4]}"),
            "ip": f"{digits[0]}{digits[1]}.{digits[2]}.{digits[3]}.{digits[4:6]}",
            "api-key": f"sk-{''.join(self.random.choices('abcdefghijkmnpqrstuvwxyz0123456789', k=40))}",
        }[kind]


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
        for kind in ("email", "phone", "iban", "credit-card", "ip", "api-key"):
            secret = writer.secret(kind)
            rows.append(({**writer.row(), "output": f"{writer.text(2)} Here: {secret} {writer.sentence()}"}, (kind,)))
        asked = exam[number]["question"]
        kind = "leak" if number % 2 else "near-leak"
        text = writer.changed(asked, 0.05) if number % 2 == 0 else f"{writer.sentence()} {asked}"
        rows.append(({**writer.row(), "instruction": text}, (kind,)))
    writer.random.shuffle(rows)
    copies: list[tuple[Any, tuple[str, ...]]] = []
    for row in writer.random.sample(base, 2 * each):
        if len(copies) < each:
            copies.append(({**row, "output": row["output"].replace(" ", "  ", 3)}, ("exact",)))
        else:
            copies.append(({**row, "output": writer.changed(row["output"], 0.04)}, ("near",)))
    for one, kinds in [*rows, *copies]:
        found.add(one, *kinds)
    return found
