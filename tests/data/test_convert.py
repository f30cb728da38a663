"""Formats to formats: what is written is read as the very same row, and what would lose something is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_rows import write_rows

from tunesmith.contracts.data import Record
from tunesmith.data.convert import converted, targets
from tunesmith.data.convert_files import convert_file
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow, Format
from tunesmith.data.recognise import recognise
from tunesmith.errors import UserError
from tunesmith.recipe.schema import SourceConfig

FORMS: dict[str, Format] = {name: FORMATS.load(name) for name in FORMATS.all}
SAMPLES = [(name, number) for name, form in FORMS.items() for number in range(len(form.samples))]
WHOLE = {
    ("preference", "ranked"),
    ("sharegpt", "messages"),
    ("sharegpt", "prompt-completion"),
    ("files", "text"),
    ("paragraphs", "text"),
    ("lines", "text"),
}
SOME = {
    ("image-text", "messages"),
    ("ranked", "preference"),
    ("messages", "image-text"),
    ("messages", "sharegpt"),
    ("messages", "alpaca"),
    ("messages", "prompt-completion"),
    ("sharegpt", "alpaca"),
    ("alpaca", "messages"),
    ("alpaca", "sharegpt"),
    ("alpaca", "prompt-completion"),
    ("prompt-completion", "messages"),
    ("prompt-completion", "sharegpt"),
    ("prompt-completion", "alpaca"),
    ("embedding", "labelled"),
    ("labelled", "embedding"),
    ("tagged", "spans"),
}


def test_every_format_has_sample_rows_and_recognises_them() -> None:
    for name, form in FORMS.items():
        assert form.samples, name
        for row in form.samples if name not in ("paragraphs", "lines") else ():
            assert recognise([row] * 3, path="x", columns={}).format.name == name, row


def test_what_converts_to_what() -> None:
    found = {(name, one.name): one.whole for name in FORMS for one in targets(name)}
    assert {pair for pair, whole in found.items() if whole} == WHOLE
    assert {pair for pair, whole in found.items() if not whole} == SOME


@pytest.mark.parametrize(("name", "number"), SAMPLES)
@pytest.mark.parametrize("further", [{}, {"task": "x", "id": 3}], ids=["alone", "further"])
def test_there_and_back_is_the_same_row(name: str, number: int, further: dict[str, Any]) -> None:
    form = FORMS[name]
    record = form.read({**form.samples[number], **further})
    if form.write is not None:
        itself = form.read(converted(record, form))
        assert (texts(itself), itself.meta, itself.images) == (texts(record), record.meta, record.images)
    for target in targets(name):
        try:
            row = converted(record, FORMS[target.name])
        except BadRow:
            continue
        assert row.items() >= further.items()
        back = FORMS[target.name].read(json.loads(json.dumps(row)))
        if form.write is not None:
            again = form.read(converted(back, form))
            assert texts(again) == texts(record)
            assert (again.meta, again.candidates, again.labels) == (record.meta, record.candidates, record.labels)


def texts(record: Record) -> list[Any]:
    turns = [(turn.role, turn.content) for turn in record.messages or ()]
    return [*turns, record.text, record.pair, *record.others, *record.images]


@pytest.mark.parametrize(
    ("name", "row", "to", "why"),
    [
        ("alpaca", {"instruction": "a", "output": "b", "messages": "x"}, "messages", "column 'messages' already"),
        ("alpaca", {"instruction": "a", "input": "c", "output": "b"}, "sharegpt", "place for 'input' of a turn"),
        ("messages", FORMS["messages"].samples[3], "alpaca", "has tools"),
        ("messages", {**FORMS["messages"].samples[0], "system": "x"}, "sharegpt", "'system'|conversation"),
        ("prompt-completion", {"prompt": "a", "completion": "b"}, "messages", "joined as they are"),
        ("ranked", {"prompt": "a", "responses": ["b", "c", "d"]}, "preference", "3 rated answers"),
        ("preference", FORMS["preference"].samples[0], "unpaired", "no single answer"),
        ("labelled", {"text": "a", "label": "b"}, "text", "has labels"),
        ("squad", FORMS["squad"].samples[0], "labelled", "places in the text"),
        ("labelled", {"text": "a", "pair": "b", "label": "c"}, "embedding", "not a number"),
        ("text", {"text": "a"}, "messages", "a text that nobody answers"),
        ("text", {"text": "a"}, "lines", "read from files as they are"),
        ("tagged", {"tokens": ["U.S."], "tags": ["B-LOC"]}, "spans", "places in the text|labels"),
    ],
)
def test_what_would_be_lost_is_named(name: str, row: Any, to: str, why: str) -> None:
    with pytest.raises(BadRow, match=why):
        converted(FORMS[name].read(row), FORMS[to])


def convert(tmp_path: Path, rows: list[Any], to: str, **options: Any) -> Any:
    path = write_rows(tmp_path / "rows.jsonl", rows)
    return convert_file(SourceConfig(path=str(path)), to, out=tmp_path / "out.jsonl", **options)


def test_a_file_is_converted_whole_or_not_at_all(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "input": "c", "output": "b", "task": 1}, {"instruction": "d", "output": "e"}]
    found = convert(tmp_path, rows, "messages")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[0]["messages"][0] == {"role": "user", "content": "a\nc", "instruction": "a", "input": "c"}
    assert lines[1]["messages"] == [{"role": "user", "content": "d"}, {"role": "assistant", "content": "e"}]
    assert (lines[0]["task"], found.named, found.ledger.total("kept")) == (1, "", 2)
    (tmp_path / "out.jsonl").unlink()
    with pytest.raises(UserError, match="1 of 3 rows cannot become 'messages'") as refused:
        convert(tmp_path, [*rows, {"instruction": "f"}], "messages")
    assert "line 3" in str(refused.value.hint)
    assert not (tmp_path / "out.jsonl").exists()
    dropped = convert(tmp_path, [*rows, {"instruction": "f"}], "messages", drop=True)
    assert (dropped.ledger.total("kept"), dropped.ledger.total("dropped")) == (2, 1)
    assert json.loads((tmp_path / "out.ledger.json").read_text())["reasons"] == {
        "dropped: column 'output' is missing": 1
    }


def test_rows_that_auto_would_take_for_others_are_told(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b", "label": True}]
    assert convert(tmp_path, rows, "messages").named == "unpaired"


@pytest.mark.parametrize(
    ("name", "to", "builder"),
    [
        ("labelled", "messages", "instructions"),
        ("unpaired", "preference", "pairs"),
        ("preference", "unpaired", "marks"),
    ],
)
def test_what_can_be_built_instead_is_told(tmp_path: Path, name: str, to: str, builder: str) -> None:
    with pytest.raises(UserError) as refused:
        convert(tmp_path, list(FORMS[name].samples[:1]), to)
    assert f"`tunesmith data build {builder}`" in str(refused.value.hint)


def test_what_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    rows = [{"text": "a"}]
    for to, code in (("lines", "cannot-convert"), ("msgs", "unknown-format"), ("messages", "cannot-convert")):
        with pytest.raises(UserError) as refused:
            convert(tmp_path, rows, to)
        assert refused.value.code == code
    with pytest.raises(UserError) as own:
        path = str(tmp_path / "rows.jsonl")
        convert_file(SourceConfig(path=path), "text", out=Path(path))
    assert own.value.code == "own-input"
