"""Rows judged by a person: which are asked about, what is kept, and what curation makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from curate_rows import Run, asked

from tunesmith.data.curate.reviewed import Reviewed
from tunesmith.data.review import Review
from tunesmith.errors import UserError
from tunesmith.recipe.schema import SourceConfig

ROWS = [asked(f"question {number}", f"answer {number}") for number in range(40)]


@pytest.fixture
def source(tmp_path: Path) -> SourceConfig:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, "no row"]) + "{broken\n")
    return SourceConfig(path=str(path))


def test_the_same_rows_are_asked_about_wherever_they_stand(source: SourceConfig, tmp_path: Path) -> None:
    first = Review.of(source, count=10)
    assert len(first.rows) == 10
    assert [row.line for row in first.rows] == sorted(row.line for row in first.rows)
    other = tmp_path / "turned.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in reversed(ROWS)))
    turned = Review.of(SourceConfig(path=str(other)), count=10)
    assert {row.key for row in turned.rows} == {row.key for row in first.rows}
    assert {row.key for row in Review.of(source, count=10, seed=1).rows} != {row.key for row in first.rows}
    assert len(Review.of(source, count=1000).rows) == 40


def test_verdicts_are_on_the_disk_at_once_and_the_last_one_counts(source: SourceConfig) -> None:
    review = Review.of(source, count=5)
    review.say(0, "keep")
    review.say(1, "drop", "wrong")
    review.say(0, "drop")
    with review.file.open("a") as file:
        file.write('{"key": "ab')  # killed while writing
    again = Review.of(source, count=5)
    assert again.counts() == {"rows": 5, "kept": 0, "dropped": 2, "notes": 1, "left": 3}
    assert again.left == [2, 3, 4]


def test_a_file_that_is_no_review_is_refused(source: SourceConfig) -> None:
    review = Review.of(source, count=5)
    review.file.write_text("hello\n" + json.dumps({"key": "a", "line": 1, "verdict": "keep"}) + "\n")
    with pytest.raises(UserError, match="line 1") as error:
        Review.of(source, count=5)
    assert error.value.code == "bad-review"


def test_curation_drops_what_a_person_dropped_and_its_ledger_says_so(run: Run, source: SourceConfig) -> None:
    review = Review.of(source, count=4)
    review.say(0, "drop", "out of place")
    review.say(1, "keep", "a good one")
    review.say(2, "keep")
    found = run(ROWS, Reviewed(file=str(review.file)))
    assert found.dropped == {review.rows[0].line: "curate reviewed: by hand"}
    assert found.found.ledger.examples["curate reviewed: by hand"][0].text.startswith("out of place: ")
    assert found.notes == {"curate reviewed: by hand: a good one": 1}
    review.say(3, "drop")
    assert len(run(ROWS, Reviewed(file=str(review.file))).dropped) == 2
    with pytest.raises(UserError) as error:
        run(ROWS, Reviewed(file="absent.jsonl"))
    assert error.value.code == "no-verdicts"
