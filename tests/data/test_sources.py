"""Every kind of file gives the same rows, and every way a file can be wrong is told with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.sources import Broken, open_source
from tunesmith.errors import UserError

ROWS = [{"prompt": "a b", "completion": "ü"}, {"prompt": 'c "d"', "completion": "e,\nf"}]


def values(path: Path | str, **options: Any) -> list[Any]:
    return [row.value for row in open_source(str(path), **options).rows()]


def write(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n\n", encoding="utf-8")
    elif kind == "json":
        path.write_text(json.dumps({"data": ROWS}))
    elif kind in ("csv", "tsv"):
        cell = "\t" if kind == "tsv" else ","
        path.write_text(f'prompt{cell}completion\na b{cell}ü\n"c ""d"""{cell}"e,\nf"\n', encoding="utf-8-sig")
    else:
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_a_table_is_separated_by_what_its_header_is(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "rows.csv"
    cell = '"c, d; e"' if mark in ",;" else "c, d; e"
    path.write_text(f"prompt{mark}completion\na{mark}{cell}\n")
    assert values(path) == [{"prompt": "a", "completion": "c, d; e"}]


def test_a_comma_goes_before_what_stands_in_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a;b;c,d\n1,2\n")
    assert values(tmp_path / "a.csv") == [{"a;b;c": "1", "d": "2"}]
    (tmp_path / "b.csv").write_text("text\none; two\n")
    assert values(tmp_path / "b.csv") == [{"text": "one; two"}]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "txt", "dev"])
def test_a_file_in_utf16_is_told_to_be(tmp_path: Path, kind: str, encoding: str) -> None:
    text = json.dumps(ROWS[0]) + "\n"
    (tmp_path / f"rows.{kind}").write_bytes((text if encoding == "utf-16" else f"\ufeff{text}").encode(encoding))
    with pytest.raises(UserError) as told:
        values(tmp_path / f"rows.{kind}")
    assert told.value.code == "not-utf8"
    assert "UTF-16" in str(told.value.got)
    assert "iconv -f utf-16 -t utf-8" in str(told.value.hint)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    assert values(write(tmp_path, kind)) == ROWS


def test_a_json_list_and_json_lines_under_the_wrong_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS, indent=1))
    assert values(path) == ROWS
    path.write_text("\n".join(map(json.dumps, ROWS)))
    assert values(path) == ROWS


def test_a_folder_is_its_files_in_order_of_name(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"n": 2}\n')
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n')
    (tmp_path / "notes.md").write_text("not data")
    assert values(tmp_path) == [{"n": 1}, {"n": 2}]


def test_txt_documents_paragraphs_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one\n\ntwo\nthree\n<|endoftext|>\nfour\n")
    assert [row["text"] for row in values(path)] == ["one\n\ntwo\nthree", "four"]
    assert [row["text"] for row in values(path, unit="paragraphs")] == ["one", "two\nthree", "four"]
    assert [row["text"] for row in values(path, unit="lines")][:3] == ["one", "two", "three"]
    assert [row.line for row in open_source(str(path)).rows()] == [1, 6]


def test_rows_that_are_no_rows_are_handed_on_as_broken(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n[1, 2]\n"text"\n')
    assert [isinstance(value, Broken) for value in values(path)] == [False, True, True]
    table = tmp_path / "rows.csv"
    table.write_text("a,b\n1,2\n3\n4,5,6\n")
    assert [isinstance(value, Broken) for value in values(table)] == [False, True, True]


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("rows.jsonl", b"", "empty-file", "rows.jsonl is empty"),
        ("rows.jsonl", b'{"a": 1}\n{"a": 2}\n{"a": \n', "bad-json", "on line 3"),
        ("rows.json", b'[{"a": 1},\n {"a": }]', "bad-json", "on line 2"),
        ("rows.json", b'{"version": 1}', "not-rows", "keys version"),
        ("rows.json", b"  \n", "empty-file", "is empty"),
        ("rows.jsonl", '{"a": "ü"}'.encode("latin1"), "not-utf8", "0xfc"),
        ("rows.csv", b"a,b\n", "empty-file", "is empty"),
        ("rows.dat", b"x", "unknown-file-type", ".dat"),
        ("rows.parquet", b"not parquet at all", "bad-parquet", "not a parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str, content: bytes, code: str, words: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        values(tmp_path / name)
    assert raised.value.code == code
    assert words in str(raised.value)


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_all_bad_lines_are_counted_and_the_first_five_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    lines = ['{"a": 1}', "", *[f'{{"a": {number}}}' if number % 2 else '{"a": ' for number in range(1, 15)]]
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match="on 7 lines") as raised:
        values(path)
    got = raised.value.got
    assert isinstance(got, list)
    assert [one.split(" (")[0] for one in got] == ["line 4", "line 6", "line 8", "line 10", "line 12", "and 2 more"]
    assert got[0] == 'line 4 (Expecting value at column 6: {"a":)'


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"Did you mean 'train\.jsonl'") as raised:
        open_source(str(tmp_path / "trian.jsonl"))
    assert raised.value.code == "missing-file"


def test_a_hub_id_off_line_is_told_and_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(UserError) as raised:
        open_source("nobody/no-such-data-set")
    assert raised.value.code == "hub-not-found"


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"tunesmith\[data\]"):
        values(tmp_path / "rows.parquet")


def test_the_fingerprint_follows_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n')
    before = open_source(str(path)).fingerprint()
    path.write_text('{"a": 2}\n')
    assert open_source(str(path)).fingerprint() != before
