"""Curation judged: planted defects by kind, near duplicates against every pair compared, and rows a second.

    python benchmarks/curation.py [--each 200] [--rows 100000] [--processes N] [--json]
    python benchmarks/curation.py --noise stsa.binary.train [--encoder FOLDER]

Planted: a file with known defects in known lines (``tests/data/curate/planted.py``) goes through the steps; recall is
the share of planted lines that are found, precision the share of found lines that are planted. Bars: 0.95 for exact
kinds, 0.85 for fuzzy ones, and kept and dropped rows add up to the last row.

Near duplicates: rows of about 100 tokens, one in ten a changed copy. ``pairs`` compares all pairs of 3,000 rows by
sets of words; the speed is that of the step (hashing, banding, exact comparison) by N processes over rows that are
read, and of the whole command from jsonl to jsonl. Bar: 20,000 rows a second on two cores.

Label noise: one label in five of a file of ``label text`` lines is made wrong; of the fifth that is ranked most
doubtful, how many are wrong (0.2 by chance)? Bar, with an encoder: 0.6.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "data" / "curate"))
from curate_rows import Result, result
from planted import SECRETS, THRESHOLD, Planted, chats, labelled, planted

from tunesmith.data.curate import TABLE
from tunesmith.data.curate.base import Step
from tunesmith.data.curate.pipeline import curate
from tunesmith.recipe.schema import SourceConfig

EXACT, FUZZY = 0.95, 0.85
BY_REASON = {
    "unreadable": ("exact", ("column 'output'", "the line is no JSON")),
    "long": ("exact", ("curate length",)),
    "exact": ("exact", ("curate exact-dedup",)),
    "refusal": ("fuzzy", ("curate quality: refusal",)),
    "repetition": ("fuzzy", ("curate quality: repetition",)),
    "toxic": ("fuzzy", ("curate toxicity",)),
    "near": ("fuzzy", ("curate near-dedup",)),
}
ROLES = ("curate roles", "unknown role", "a system message stands", "the conversation has no answer")


def cleaned(made: Planted, folder: Path, name: str, steps: Sequence[Step]) -> Result:
    """The planted rows after the steps."""
    path = folder / f"{name}.jsonl"
    path.write_text(made.text())
    return result(curate([SourceConfig(path=str(path))], steps, cache=folder / "cache"))


def row_of(name: str, kind: str, found: set[int], wanted: set[int]) -> dict[str, Any]:
    """One line of the table."""
    hits, bar = len(found & wanted), EXACT if kind == "exact" else FUZZY
    recall, precision = hits / max(len(wanted), 1), hits / max(len(found), 1)
    held = recall >= bar and precision >= bar
    return {"kind": name, "bar": bar, "planted": len(wanted), "recall": recall, "precision": precision, "held": held}


def lines_with(found: Result, reasons: tuple[str, ...]) -> set[int]:
    """Lines that were dropped for one of the reasons."""
    return {line for line, reason in found.dropped.items() if reason.startswith(reasons)}


def judged(folder: Path, each: int) -> list[dict[str, Any]]:
    """The table over three files: instructions, conversations, labelled texts."""
    made = planted(clean=15 * each, each=each)
    exam = folder / "exam.jsonl"
    exam.write_text("".join(json.dumps(row) + "\n" for row in made.exam))
    given: dict[str, dict[str, Any]] = {
        "unicode": {},
        "length": {"max_words": 300},
        "quality": {},
        "toxicity": {},
        "pii": {},
        "exact-dedup": {},
        "decontaminate": {"against": [str(exam)]},
        "near-dedup": {"threshold": THRESHOLD},
    }
    found = cleaned(made, folder, "rows", [TABLE.load(name)(**options) for name, options in given.items()])
    table = [row_of(name, kind, lines_with(found, why), made.lines[name]) for name, (kind, why) in BY_REASON.items()]
    leaks = made.lines["leak"] | made.lines["near-leak"]
    table.append(row_of("leaks of a test set", "fuzzy", lines_with(found, ("curate decontaminate",)), leaks))
    mended = {line for line, row in found.kept.items() if "é" in row["output"] and "Ã" not in row["output"]}
    table.append(row_of("mojibake", "exact", mended, made.lines["mojibake"]))
    for kind in SECRETS:
        mark = f"[{kind.upper().replace('-', '_')}]"
        hidden = {line for line, row in found.kept.items() if mark in row["output"]}
        table.append(row_of(kind, "exact", hidden, made.lines[kind]))
    talks, texts = chats(clean=6 * each, each=each), labelled(clean=6 * each, each=each)
    chat = cleaned(talks, folder, "chats", [TABLE.load("roles")(), TABLE.load("exact-dedup")()])
    table.append(row_of("wrong roles", "exact", lines_with(chat, ROLES), talks.lines["roles"]))
    table.append(row_of("broken JSON", "exact", lines_with(chat, ("the line is no",)), talks.lines["broken-json"]))
    label = cleaned(texts, folder, "labels", [TABLE.load("conflicts")(), TABLE.load("exact-dedup")()])
    table.append(row_of("conflicting labels", "exact", lines_with(label, ("curate confl",)), texts.lines["conflict"]))
    for one, planted_rows in ((found, made), (chat, talks), (label, texts)):
        ledger = one.found.ledger
        adds_up = ledger.total("kept") + ledger.total("dropped") == ledger.rows == len(planted_rows.rows)
        assert adds_up
        assert len(ledger.entries) == ledger.total("dropped")
    return table


def hundred_tokens(count: int, seed: int = 0) -> list[str]:
    """Texts of 100 words; one in ten is an earlier one with one to twenty words changed."""
    chance = random.Random(seed)
    vocabulary = ["".join(chance.choices("etaoinshrdlcumwfgypbvk", k=chance.randint(2, 9))) for _ in range(6000)]
    weights = [1.0 / (rank + 10) for rank in range(len(vocabulary))]
    texts: list[str] = []
    for number in range(count):
        if number % 10 == 9:
            words = texts[chance.randrange(number)].split()
            for place in chance.sample(range(len(words)), chance.randint(1, 20)):
                words[place] = chance.choice(vocabulary)
        else:
            words = chance.choices(vocabulary, weights, k=100)
        texts.append(" ".join(words))
    return texts


def brute_force(texts: Sequence[str], threshold: float) -> set[int]:
    """Greedy, by all pairs."""
    sets = [set(pairwise(f"say it {text}".split())) for text in texts]
    kept: list[int] = []
    for number, one in enumerate(sets):
        if all(len(one & sets[other]) < threshold * len(one | sets[other]) for other in kept):
            kept.append(number)
    return set(range(len(texts))) - set(kept)


def processor() -> float:
    """Seconds of processor so far, of this process and of those it started that have ended."""
    return sum(os.times()[:4])


def near(folder: Path, rows: int, processes: int) -> dict[str, Any]:
    """Precision and recall against all pairs, and rows a second."""
    step = TABLE.load("near-dedup")()
    texts = hundred_tokens(max(rows, 3000))
    few, many = folder / "few.jsonl", folder / "many.jsonl"
    for path, count in ((few, 3000), (many, rows)):
        path.write_text("".join(json.dumps({"instruction": "Say it", "output": one}) + "\n" for one in texts[:count]))
    found = result(curate([SourceConfig(path=str(few))], [step], cache=folder / "cache", workers=processes)).dropped
    wanted, dropped = brute_force(texts[:3000], step.threshold), {line - 1 for line in found}
    times: list[tuple[str, float, float]] = []
    told = lambda text: times.append((text, time.perf_counter(), processor()))  # noqa: E731
    started, spent = time.perf_counter(), processor()
    curate([SourceConfig(path=str(many))], [step], cache=folder / "cache", workers=processes, told=told)
    ended, used = time.perf_counter(), processor()
    begun, before = next((at, used) for text, at, used in times if "near-dedup" in text)
    return {
        "pairs_recall": len(wanted & dropped) / len(wanted),
        "pairs_precision": len(wanted & dropped) / max(len(dropped), 1),
        "rows": rows,
        "processes": processes,
        "step_rows_per_second": round(rows / (ended - begun)),
        "step_rows_per_processor_second": round(rows / (used - before)),
        "whole_rows_per_second": round(rows / (ended - started)),
        "whole_rows_per_processor_second": round(rows / (used - spent)),
    }


def noise(path: Path, encoder: str | None, folder: Path) -> dict[str, Any]:
    """Precision of the most doubtful fifth, and of what confident learning holds for wrong."""
    from tunesmith.run.openers import Openers

    lines = path.read_text(encoding="latin-1").splitlines()
    names = sorted({line.split(" ", 1)[0] for line in lines})
    chance = random.Random(0)
    wrong = set(chance.sample(range(1, len(lines) + 1), len(lines) // 5))
    made = Planted()
    for number, (label, text) in enumerate((line.split(" ", 1) for line in lines), start=1):
        others = [name for name in names if name != label]
        made.add({"text": text, "label": chance.choice(others) if number in wrong else label})
    rows = folder / "noisy.jsonl"
    rows.write_text(made.text())
    found: dict[str, Any] = {"rows": len(lines), "wrong": len(wrong), "encoder": encoder or "words"}
    models = Openers() if encoder else None
    for name, share in (("worst_fifth", 0.2), ("confident_joint", None)):
        step = TABLE.load("label-noise")(action="drop", share=share, encoder=encoder)
        curated = curate([SourceConfig(path=str(rows))], [step], cache=folder / "cache", models=models)
        doubted = set(result(curated).dropped)
        hits = len(wrong & doubted)
        found[name] = {"rows": len(doubted), "precision": hits / len(doubted), "recall": hits / len(wrong)}
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=200)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--noise", type=Path)
    parser.add_argument("--encoder")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.noise is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(noise(arguments.noise, arguments.encoder, Path(folder)), indent=2))
        return
    with tempfile.TemporaryDirectory() as folder:
        table = judged(Path(folder), arguments.each)
        speed = near(Path(folder), arguments.rows, arguments.processes)
    if arguments.json:
        print(json.dumps({"planted": table, "near": speed}))
    else:
        for row in table:
            print(
                f"{row['kind']:22} planted {row['planted']:4}   recall {row['recall']:.3f}   "
                f"precision {row['precision']:.3f}   bar {row['bar']}   {'held' if row['held'] else 'MISSED'}"
            )
        print("\n".join(f"{key}: {value}" for key, value in speed.items()))
    sys.exit(0 if all(row["held"] for row in table) else 1)


if __name__ == "__main__":
    main()
