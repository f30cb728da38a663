"""Every kind of planted defect is found, and hardly anything else: recall and precision by kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from curate_rows import Result, result
from planted import LEVELS, SECRETS, THRESHOLD, Planted, chats, jaccard_of, labelled, planted

from tunesmith.data.curate import TABLE
from tunesmith.data.curate.pipeline import curate, step_counts
from tunesmith.data.sources import Broken, open_source
from tunesmith.recipe.schema import SourceConfig

pytest.importorskip("rensa", reason="the near-dedup step needs the `curate` extra")
pytest.importorskip("ftfy", reason="the unicode step needs the `curate` extra")
EXACT = 0.95
FUZZY = 0.85


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def defects() -> Planted:
    return planted()


@pytest.fixture(scope="module")
def cleaned(defects: Planted, folder: Path) -> Result:
    rows, exam = folder / "rows.jsonl", folder / "exam.jsonl"
    rows.write_text(defects.text())
    exam.write_text("".join(json.dumps(row) + "\n" for row in defects.exam))
    steps = [
        TABLE.load("unicode")(),
        TABLE.load("length")(max_words=300),
        TABLE.load("quality")(),
        TABLE.load("toxicity")(),
        TABLE.load("pii")(),
        TABLE.load("exact-dedup")(),
        TABLE.load("decontaminate")(against=[str(exam)]),
        TABLE.load("near-dedup")(threshold=THRESHOLD),
    ]
    return result(curate([SourceConfig(path=str(rows))], steps, cache=folder / "cache", workers=1))


def found_lines(cleaned: Result, *reasons: str) -> set[int]:
    return {line for line, reason in cleaned.dropped.items() if reason.startswith(reasons)}


def check(found: set[int], wanted: set[int], bound: float) -> None:
    hits = len(found & wanted)
    assert wanted
    assert hits >= bound * len(wanted), f"recall {hits / len(wanted):.3f}"
    assert hits >= bound * len(found), f"precision {hits / len(found):.3f}"


DROPPED: Mapping[str, tuple[tuple[str, ...], float]] = {
    "unreadable": (("column 'output'", "the line is no JSON"), EXACT),
    "long": (("curate length",), EXACT),
    "refusal": (("curate quality: refusal",), FUZZY),
    "repetition": (("curate quality: repetition",), FUZZY),
    "toxic": (("curate toxicity",), FUZZY),
    "exact": (("curate exact-dedup",), EXACT),
    "near": (("curate near-dedup",), FUZZY),
    "leak": (("curate decontaminate: shares",), FUZZY),
}


@pytest.mark.parametrize("kind", list(DROPPED))
def test_what_is_to_go_goes_and_nothing_else(kind: str, cleaned: Result, defects: Planted) -> None:
    reasons, bound = DROPPED[kind]
    wanted = defects.lines[kind] | (found_lines(cleaned, *reasons) & defects.lines["near-leak"])
    check(found_lines(cleaned, *reasons), wanted, bound)


def test_leaks_go_whether_copied_or_changed(cleaned: Result, defects: Planted) -> None:
    check(found_lines(cleaned, "curate decontaminate"), defects.lines["leak"] | defects.lines["near-leak"], EXACT)


@pytest.mark.parametrize("kind", SECRETS)
def test_personal_data_is_hidden_where_it_stands(kind: str, cleaned: Result, defects: Planted) -> None:
    mark = f"[{kind.upper().replace('-', '_')}]"
    check({line for line, row in cleaned.kept.items() if mark in row["output"]}, defects.lines[kind], EXACT)
    for line in defects.lines[kind] & cleaned.kept.keys():
        before, _, rest = defects.rows[line - 1]["output"].partition(" Here: ")
        assert cleaned.kept[line]["output"].startswith(f"{before} Here: {mark} The ")
        assert rest.endswith(cleaned.kept[line]["output"].partition(f"{mark} ")[2])


def test_text_in_a_wrong_encoding_is_as_it_was_written(cleaned: Result, defects: Planted) -> None:
    mended = {line for line, row in cleaned.kept.items() if "é" in row["output"] and "Ã" not in row["output"]}
    check(mended, defects.lines["mojibake"], EXACT)
    assert cleaned.notes["curate unicode: wrong encoding undone"] == len(mended)


def test_rows_without_a_defect_stay(cleaned: Result, defects: Planted) -> None:
    unlike = defects.lines["unlike"]
    clean = set(range(1, len(defects.rows) + 1)) - set().union(*defects.lines.values()) | unlike
    assert len(clean & cleaned.kept.keys()) >= 0.99 * len(clean)
    for line in clean & cleaned.kept.keys():
        assert cleaned.kept[line] == defects.rows[line - 1]


def test_the_ledger_adds_up_to_the_last_row(cleaned: Result, defects: Planted) -> None:
    ledger = cleaned.found.ledger
    assert ledger.rows == len(defects.rows)
    assert ledger.total("kept") == len(cleaned.kept)
    assert ledger.total("dropped") == len(cleaned.dropped) == len(ledger.entries) == sum(ledger.reasons.values())
    assert {entry.line: entry.reason for entry in ledger.entries} == cleaned.dropped
    assert sorted([*cleaned.kept, *cleaned.dropped]) == list(range(1, len(defects.rows) + 1))
    steps = [TABLE.load(name)(**given) for name, given in (("length", {}), ("exact-dedup", {}), ("near-dedup", {}))]
    counts = step_counts(ledger, steps)
    assert counts["exact-dedup"] == len(found_lines(cleaned, "curate exact-dedup"))
    assert sum(counts.values()) == len(ledger.entries)
    assert all(ledger.examples[entry.reason] for entry in ledger.entries)


@pytest.mark.parametrize("level", [level for level in LEVELS if level > THRESHOLD])
def test_copies_are_found_at_every_likeness_above_the_threshold(
    level: float, cleaned: Result, defects: Planted
) -> None:
    wanted = defects.lines[f"near-{level}"]
    assert len(wanted & found_lines(cleaned, "curate near-dedup")) >= FUZZY * len(wanted)


def test_the_likeness_of_planted_copies_is_as_planted(cleaned: Result, defects: Planted) -> None:
    row = {"instruction": "one two three", "output": "four five six"}
    other = {"instruction": "one two three", "output": "four five seven"}
    assert jaccard_of(row, other) == pytest.approx(4 / 6)
    shown = [one for line, one in _shown(cleaned).items() if line in defects.lines["near-0.8"]]
    assert shown
    assert all(0.8 <= alike < 0.9 for alike in shown)


def _shown(cleaned: Result) -> dict[int, float]:
    (file,) = cleaned.found.files
    rows = [row for row in open_source(str(file)).rows() if isinstance(row.value, Broken)]
    return {row.line: float(row.value.text[4:8]) for row in rows if row.value.text.startswith("J = ")}


def curated(made: Planted, folder: Path, *names: str) -> Result:
    path = folder / "made.jsonl"
    path.write_text(made.text())
    steps = [TABLE.load(name)() for name in names]
    return result(curate([SourceConfig(path=str(path))], steps, cache=folder / "cache", workers=1))


def test_the_wrong_side_speaks(tmp_path: Path) -> None:
    made = chats()
    found = curated(made, tmp_path, "roles", "exact-dedup")
    reasons = ("curate roles", "unknown role", "a system message stands", "the conversation has no answer")
    check(found_lines(found, *reasons), made.lines["roles"], EXACT)
    check(found_lines(found, "the line is no JSON"), made.lines["broken-json"], EXACT)
    check(found_lines(found, "curate exact-dedup"), made.lines["exact"], EXACT)
    assert len(found.kept) + len(found.dropped) == found.found.ledger.rows == len(made.rows)


def test_labels_that_contradict_each_other(tmp_path: Path) -> None:
    made = labelled()
    found = curated(made, tmp_path, "conflicts", "exact-dedup")
    check(found_lines(found, "curate conflicts"), made.lines["conflict"], EXACT)
    check(found_lines(found, "curate exact-dedup"), made.lines["copy"], EXACT)
    assert made.lines["copy-in-capitals"] <= found.kept.keys()
