"""Rows parted by what they say: near duplicates, groups, labels, times, and an earlier split that is kept."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from small_rows import encode_answers, pair, write_rows

from tunesmith.data.chat import ChatEncoder
from tunesmith.data.curate.shingles import jaccard, shingle_sets
from tunesmith.data.ledger import BETWEEN, LATER
from tunesmith.data.prepare import prepare
from tunesmith.data.split_files import SplitFiles, split_file
from tunesmith.errors import UserError
from tunesmith.recipe.schema import DataConfig, SourceConfig, SplitConfig

WORDS = [f"word{number}" for number in range(400)]


def sentence(rng: random.Random) -> list[str]:
    return rng.choices(WORDS, k=60)


def clustered(clusters: int, each: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of ``clusters`` questions, each asked ``each`` times with one word changed."""
    rng = random.Random(seed)
    found = []
    for cluster in range(clusters):
        words = sentence(rng)
        for copy in range(each):
            changed = [*words]
            changed[rng.randrange(60)] = f"new{seed}x{cluster}x{copy}"
            found.append({"instruction": " ".join(changed), "output": f"answer {cluster}", "cluster": cluster})
    rng.shuffle(found)
    return found


def split(tmp_path: Path, rows: list[Any], *, out: str = "out", shares: Any = (0.8, 0.2), **config: Any) -> SplitFiles:
    path = write_rows(tmp_path / "rows.jsonl", rows)
    return split_file(SourceConfig(path=str(path)), SplitConfig(**config), shares=shares, seed=0, out=tmp_path / out)


def sides(found: SplitFiles) -> dict[str, str]:
    """What each row says -> its side."""
    return {line: side for side in found.counts for line in (found.out / f"{side}.jsonl").read_text().splitlines()}


def test_no_near_duplicates_stand_on_two_sides(tmp_path: Path) -> None:
    rows = clustered(60, 5)
    found = split(tmp_path, rows)
    by_side = {
        side: shingle_sets([json.loads(line)["instruction"] for line in sides(found) if sides(found)[line] == side], 2)
        for side in found.counts
    }
    assert max(jaccard(one, other) for one in by_side["train"] for other in by_side["validation"]) < 0.8
    assert found.counts["train"] + found.counts["validation"] == 300 - found.ledger.total("dropped")
    assert found.ledger.total("dropped") == 0
    exact = split(tmp_path, rows, out="exact", near=None)
    clusters: dict[int, set[str]] = {}
    for line, side in sides(exact).items():
        clusters.setdefault(json.loads(line)["cluster"], set()).add(side)
    assert sum(len(one) == 2 for one in clusters.values()) > 20  # what the near step prevents


def test_rows_added_behind_move_no_old_row(tmp_path: Path) -> None:
    old, new = clustered(40, 3), clustered(40, 3, seed=5)
    near_old = [{**row, "instruction": row["instruction"] + " indeed"} for row in old[::3]]
    before = sides(split(tmp_path, old, out="a"))
    after = sides(split(tmp_path, [*old, *new, *near_old], out="b"))
    assert {line: after[line] for line in before} == before


def test_an_earlier_split_is_kept_in_any_order(tmp_path: Path) -> None:
    old, new = clustered(40, 3), clustered(40, 3, seed=5)
    first = split(tmp_path, old, out="a", stratify="label")
    mixed = [*new, *old]
    random.Random(1).shuffle(mixed)
    kept = sides(split(tmp_path, mixed, out="b", stratify="label", keep=str(tmp_path / "a")))
    assert {line: kept[line] for line in sides(first)} == sides(first)
    with pytest.raises(UserError, match=r"no .*train\.jsonl"):
        split(tmp_path, old, out="c", keep=str(tmp_path))


def test_rows_of_a_group_stay_together(tmp_path: Path) -> None:
    rows = [{**pair(number), "user": f"u{number % 30}"} for number in range(240)]
    users: dict[str, set[str]] = {}
    for line, side in sides(split(tmp_path, rows, group="user", near=None)).items():
        users.setdefault(json.loads(line)["user"], set()).add(side)
    assert all(len(one) == 1 for one in users.values())
    assert len(users) == 30
    with pytest.raises(UserError, match=r"split\.group") as unknown:
        split(tmp_path, rows, out="b", group="usr")
    assert unknown.value.code == "unknown-column"


def test_rows_made_from_one_row_stay_together(tmp_path: Path) -> None:
    """However far apart their words are: a paraphrase of a paraphrase leads back to the row that it began with."""
    rows = []
    for number in range(120):
        made = {"how": "noise", "file": "a.jsonl", "line": number % 40}
        whole = made if number < 80 else {"how": "paraphrase", "file": "b.jsonl", "line": number, "made": made}
        rows.append({**pair(number * 7), "made": whole, "of": number % 40})
    origins: dict[int, set[str]] = {}
    for line, side in sides(split(tmp_path, rows, near=None)).items():
        origins.setdefault(json.loads(line)["of"], set()).add(side)
    assert len(origins) == 40
    assert all(len(one) == 1 for one in origins.values())


def test_labels_get_their_share(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [{"text": " ".join(sentence(rng)), "label": "pos" if number % 10 else "neg"} for number in range(400)]
    found = split(tmp_path, rows, stratify="label")
    assert found.strata == {"pos": {"train": 288, "validation": 72}, "neg": {"train": 32, "validation": 8}}


def test_the_latest_rows_are_held_out_and_nothing_of_them_is_trained(tmp_path: Path) -> None:
    rows = [{**pair(number), "date": f"2024-01-{1 + number % 28:02d}"} for number in range(280)]
    rows.append({**pair(27), "date": "2024-01-02"})  # asks what a row of the 28th asks
    found = split(tmp_path, rows, time="date", near=None, shares=(0.75, 0.25))
    days = {
        side: [json.loads(line)["date"] for line in sides(found) if sides(found)[line] == side] for side in found.counts
    }
    assert max(days["train"]) < min(days["validation"]) == "2024-01-22"
    assert Counter(entry.reason for entry in found.ledger.entries) == {LATER: 1}
    assert "validation begins at date 2024-01-22" in found.notes[0]
    fixed = split(tmp_path, rows, out="b", time="date", near=None, since="2024-01-15")
    assert fixed.counts == {"train": 140, "validation": 140}
    with pytest.raises(UserError) as no_time:
        split(tmp_path, rows, out="c", time="output", near=None)
    assert no_time.value.code == "no-time"


def test_what_cannot_be_read_is_in_the_ledger_and_the_ledger_adds_up(tmp_path: Path) -> None:
    rows = [*clustered(20, 2), {"instruction": "x"}, [1]]
    found = split(tmp_path, rows)
    saved = json.loads((found.out / "split.json").read_text())
    assert saved["rows"] == 42 == sum(saved["sides"].values()) + saved["dropped"]
    assert saved["reasons"]["dropped: column 'output' is missing"] == 1
    with pytest.raises(UserError) as there:
        split(tmp_path, rows)
    assert there.value.code == "rows-exist"
    with pytest.raises(UserError) as empty:
        split(tmp_path, [rows[0]] * 5, out="b")
    assert empty.value.code == "empty-side"
    assert not (tmp_path / "b").exists()


def prepared(tmp_path: Path, encoder: ChatEncoder, rows: list[Any], **data: Any) -> Any:
    path = write_rows(tmp_path / "rows.jsonl", rows)
    config = DataConfig(train=[{"path": str(path)}], max_lost=1.0, **data)
    return prepare(config, encode_answers, encoder, seed=0, cache=tmp_path / "cache", options_key="answers")


def test_a_recipe_parts_the_same_way(tmp_path: Path, plain_encoder: ChatEncoder) -> None:
    rows = clustered(40, 3)
    by_hand = split(tmp_path, rows)
    found = prepared(tmp_path, plain_encoder, rows, validation=0.2, split={})
    lines = {json.dumps(row): number for number, row in enumerate(rows)}
    assert set(found.validation.rows.tolist()) == {
        lines[one] for one, side in sides(by_hand).items() if side != "train"
    }
    assert found.ledger.reasons.get(f"dropped: {BETWEEN}", 0) == by_hand.ledger.total("dropped")
    assert found.ledger.lost_share == 0.0
    again = prepared(tmp_path, plain_encoder, rows, validation=0.2, split={})
    assert again.validation.rows.tolist() == found.validation.rows.tolist()
    assert prepared(tmp_path, plain_encoder, rows, validation=0.0, split={}).validation.rows.tolist() == []


def test_near_copies_of_validation_files_are_kept_out_of_training(tmp_path: Path, plain_encoder: ChatEncoder) -> None:
    rows = clustered(30, 2)
    exam = [{**row, "instruction": row["instruction"] + " please"} for row in rows[:5]]
    held = write_rows(tmp_path / "exam.jsonl", exam)
    found = prepared(tmp_path, plain_encoder, rows, validation=[{"path": str(held)}], split={})
    assert len(found.validation) == 5
    clusters = {row["cluster"] for row in rows[:5]}
    assert found.ledger.reasons == {f"dropped: {LATER}": sum(row["cluster"] in clusters for row in rows)}
    assert found.ledger.rows == 65
