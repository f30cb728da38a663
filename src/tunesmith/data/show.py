"""Tokenised rows as the loss sees them: trained tokens coloured, special tokens by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from tunesmith.contracts.batch import Example
from tunesmith.data.ledger import Entry
from tunesmith.data.prepare import Prepared
from tunesmith.data.tokens import Tokens

if TYPE_CHECKING:
    from rich.text import Text

TRAINED = "bold green underline"
SPECIAL = "magenta"
GIVEN = "dim"
CUT = "bold red"


WANTED = "wanted"
"""The number by which an objective tells wanted single answers from others."""

Said = Callable[[Example], str]
"""What the labels of a sequence say, for people; empty where it has none."""


def show_lines(prepared: Prepared, count: int, said: Said = lambda _: "") -> list[Text]:
    """The first ``count`` training sequences: a heading and the sequence for each, as rich text."""
    from rich.text import Text

    lines = [Text("underlined and green: trained on. Dim: given. Magenta: special tokens. Red: cut.", style="italic")]
    short = shortened(prepared)
    for number in range(min(count, len(prepared.train))):
        example = prepared.train[number]
        lines.append(Text(_heading(prepared, example, said, short), style="bold"))
        line = Text()
        for text, trained, special in runs(example, prepared.encoder.tokens):
            line.append(text, style=_style(trained, special=special))
        line.append(_end(example, short), style=CUT)
        lines.append(line)
    return lines


def plain_lines(prepared: Prepared, count: int, said: Said = lambda _: "") -> list[str]:
    """The same without colours: ``[[`` trained ``]]``."""
    lines, short = [], shortened(prepared)
    for number in range(min(count, len(prepared.train))):
        example = prepared.train[number]
        lines.append(_heading(prepared, example, said, short))
        parts = []
        for trained, group in groupby(runs(example, prepared.encoder.tokens), key=lambda run: run[1]):
            text = "".join(run[0] for run in group)
            parts.append(f"[[{text}]]" if trained else text)
        lines.append("".join(parts) + _end(example, short))
    return lines


def shortened(prepared: Prepared) -> dict[int, Entry]:
    """Row -> what the ledger says of it, for rows that were cut, or split into several sequences."""
    return {entry.row: entry for entry in prepared.ledger.entries if entry.status in ("cut", "split")}


def _end(example: Example, short: Mapping[int, Entry]) -> str:
    """What is shown after a sequence that ends where there was no room for more."""
    return f" ✂ {short[example.row].status} here" if example.row in short else ""


def answer_names(example: Example) -> list[str]:
    """What each branch of a sequence is: ``chosen`` and ``rejected``, ``wanted``, ``anchor`` and ``positive``."""
    count = len(example.branches)
    if example.labels is not None and example.branches[:1] == (0,):  # texts that begin with nothing in common
        return ["anchor", "positive", *(f"negative {number}" for number in range(1, count))][:count]
    if WANTED in example.extras:
        return ["wanted" if float(example.extras[WANTED][0]) else "not wanted"]
    if count == 2:
        return ["chosen", "rejected"]
    return [f"answer {number}" + (", the best" if number == 1 < count else "") for number in range(1, count + 1)]


def runs(example: Example, tokens: Tokens) -> Iterator[tuple[str, bool, bool]]:
    """The sequence as (text, trained, special): neighbours of one kind together, special tokens one by one.

    Several answers to one question are shown one after the other, each under a line with its name.
    """
    names = answer_names(example)
    edges = (0, *(edge for edge in example.branches if edge), len(example))
    for start, end in pairwise(edges):
        if start in example.branches:
            yield f"\n[{names[example.branches.index(start)]}] ", False, True
        yield from _kinds(replace(example, ids=example.ids[start:end], trained=example.trained[start:end]), tokens)


def _kinds(example: Example, tokens: Tokens) -> Iterator[tuple[str, bool, bool]]:
    specials = set(tokens.special.values())
    pairs = zip(example.ids.tolist(), example.trained.tolist(), strict=True)
    kinds = [(flag, number in specials) for number, flag in pairs]
    at = 0
    for (trained, special), group in groupby(kinds):
        length = len(list(group))
        ids = example.ids[at : at + length].tolist()
        text = "".join(map(tokens.token, ids)) if special else tokens.inner_text(ids)
        yield text, trained, special
        at += length


def _heading(prepared: Prepared, example: Example, said: Said, short: Mapping[int, Entry]) -> str:
    source, labels = prepared.ledger.sources[example.source], said(example)
    where = f"row {example.row + 1} of {source.path} ({source.format}): {len(example)} tokens"
    read = f"{int(example.trained.sum())} {'trained' if example.labels is None else 'read'}"
    why = f"; {short[example.row].status}: {short[example.row].reason}" if example.row in short else ""
    return f"{where}, {read}{why}" + (f"; {labels}" if labels else "")


def _style(trained: bool, *, special: bool) -> str:
    if trained:
        return f"{TRAINED} {SPECIAL}" if special else TRAINED
    return SPECIAL if special else GIVEN
