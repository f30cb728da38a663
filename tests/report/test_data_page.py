"""The page about data: its numbers stand in its files, and a browser shows it without a request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tracing import Folder, read, wrong

from browser import opened
from tunesmith.data.curate.base import Item
from tunesmith.data.curate.stream import Items, Reading
from tunesmith.data.portrait import Portrait, Seen, duplicates, neighbours
from tunesmith.errors import UserError
from tunesmith.recipe.schema import SourceConfig
from tunesmith.run.data_report import DataReport, report_file

pytest.importorskip("matplotlib", reason="pictures need the `report` extra")
TOPICS = ["river", "garden", "letter", "window", "market", "doctor", "village", "engine", "bridge", "winter"]


def asked(number: int, text: str = "") -> dict[str, str]:
    topic, other = TOPICS[number % 10], TOPICS[number // 10 % 10]
    answer = text or f"{topic} number {number} stands beside the {other} of row {number * 7}, as everybody there knows"
    return {"instruction": f"Tell me about {topic} {number}, please", "output": answer}


def item_of(row: dict[str, Any], number: int = 0, form: str = "alpaca") -> Item:
    return Items([Reading("rows.jsonl", form, "", {})]).read(number, 0, row)


def seen(row: dict[str, Any], line: int, side: str = "train") -> Seen:
    return Seen(item_of(row, line), "rows.jsonl", line, side)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> DataReport:
    folder = tmp_path_factory.mktemp("data-page")
    rows = [asked(number) for number in range(120)]
    near = dict(rows[7], output=rows[7]["output"].replace("everybody", "nobody"))
    rows += [
        rows[3],
        near,
        asked(200, "yes"),
        asked(201, "no"),
        asked(202, "yes"),
        asked(203, "yes"),
        {"instruction": "Расскажи мне", "output": "это длинный русский текст"},
    ]
    lines = [json.dumps(row) for row in rows] + ["{broken", json.dumps({"instruction": "<b>a</b>", "output": ""})]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "exam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [rows[11], asked(999)]))
    source, against = (SourceConfig(path=str(folder / name)) for name in ("rows.jsonl", "exam.jsonl"))
    return report_file(source, evaluation=against, out=folder / "data.html")


def test_every_number_and_text_stands_in_a_file_beside_the_page(found: DataReport) -> None:
    reader = read(found.page.read_text())
    assert wrong(reader, Folder({"": found.page.parent})) == []
    assert len(reader.numbers) > 20
    assert reader.loose == []
    assert len(reader.figures) >= 4


def test_what_the_page_is_made_of(found: DataReport) -> None:
    facts, ledger = (json.loads(path.read_text()) for path in (found.facts, found.ledger))
    portrait = facts["portrait"]
    assert portrait["rows"] == {"train": 127, "evaluation": 2}
    assert portrait["duplicates"]["exact"] == 1
    assert portrait["duplicates"]["near"] == 1
    assert portrait["labels"]["train"] == {"yes": 3, "no": 1}
    assert portrait["languages"]["cyrillic"] == 1
    assert portrait["neighbours"]["pairs"][0]["train"]["line"] == 12
    assert portrait["neighbours"]["alike"][0] == pytest.approx(1.0)
    assert (ledger["rows"], ledger["dropped"]) == (131, 2)


def test_rows_are_text_and_no_markup(tmp_path: Path) -> None:
    rows = [asked(1, "<script>alert(1)</script> & <img src='http://x.invalid/a.png'>")] * 2
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = report_file(SourceConfig(path=str(path)), evaluation=None, out=tmp_path / "data.html").page
    assert "<script" not in page.read_text()
    with opened(page) as state:
        assert state.requests == []
        assert state.console == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 420)])
def test_a_browser_asks_for_nothing_and_has_nothing_to_complain_about(
    scheme: Any, width: int, found: DataReport, tmp_path: Path
) -> None:
    with opened(found.page, scheme=scheme, width=width) as state:
        assert state.requests == []
        assert state.console == []
        assert state.overflowing() <= 0
        assert state.page.locator("figure svg").count() >= 4
        assert state.page.locator("section").count() >= 5
        assert state.picture(tmp_path / "data.png").stat().st_size > 20_000


def test_a_sample_does_not_depend_on_where_rows_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.data.portrait.SAMPLE", 10)
    rows = [asked(number) for number in range(100)]

    def chosen(order: list[int]) -> set[str]:
        portrait = Portrait()
        for number in order:
            portrait.add(seen(rows[number], number))
        return {one.item.answer for one in portrait.sample("train")}

    assert len(chosen(list(range(100)))) == 10
    assert chosen(list(range(100))) == chosen(list(reversed(range(100))))


def test_duplicates_name_the_row_that_stands_first() -> None:
    rows = [seen(asked(1), 5), seen(asked(2), 6), seen(asked(1), 9)]
    pairs = duplicates(rows)["pairs"]
    assert [(one["first"]["line"], one["second"]["line"], one["alike"]) for one in pairs] == [(5, 9, "the same")]


def test_without_evaluation_rows_there_are_no_neighbours() -> None:
    assert neighbours([seen(asked(1), 1)], []) is None


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        report_file(SourceConfig(path=str(tmp_path / "absent.jsonl")), evaluation=None, out=tmp_path / "x.html")
