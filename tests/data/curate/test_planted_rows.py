"""Every kind of planted defect is found, and hardly anything else: recall and precision by kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from curate_rows import Result, result
from planted import Planted, planted

from tunesmith.data.curate import TABLE
from tunesmith.data.curate.pipeline import curate, step_counts
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
        TABLE.load("near-dedup")(threshold=0.75),
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


@pytest.mark.parametrize("kind", ["email", "phone", "iban", "credit-card", "ip", "api-key"])
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
    clean = set(range(1, len(defects.rows) + 1)) - set().union(*defects.lines.values())
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
