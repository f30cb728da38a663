"""Tools with schemas, reasoning, images, labelled places, and folders of text and code."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from small_rows import pair

from tunesmith.contracts.data import Record
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow
from tunesmith.data.ledger import IMAGES, UNWRITTEN
from tunesmith.data.look import recognised
from tunesmith.data.sources import Broken, open_source
from tunesmith.errors import UserError
from tunesmith.recipe.schema import SourceConfig

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"enum": ["C", "F"]},
        "hours": {"type": "array", "items": {"type": ["integer", "null"]}},
    },
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]


def read(name: str, row: dict[str, Any]) -> Record:
    record: Record = FORMATS.load(name).read(row)
    return record


def called(name: str, arguments: Any, tools: Any = TOOLS) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    return {"messages": turns, "tools": tools}


@pytest.mark.parametrize(
    "arguments",
    [
        {"city": "Rome"},
        '{"city": "Rome", "days": 2}',
        {"city": "Rome", "unit": "C", "hours": [1, None]},
    ],
)
def test_calls_that_fit_their_schema_are_read(arguments: Any) -> None:
    assert read("messages", called("weather", arguments)).tools == tuple(TOOLS)


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("wether", {"city": "Rome"}, "'wether', which the row does not describe"),
        ("weather", {}, "lacks 'city'"),
        ("weather", {"city": 3}, "'city' is not of type string"),
        ("weather", {"city": "Rome", "days": True}, "'days' is not of type integer"),
        ("weather", {"city": "Rome", "unit": "K"}, "'unit' is none of"),
        ("weather", {"city": "Rome", "hours": [1, "x"]}, "an item of 'hours'"),
        ("weather", {"city": "Rome", "moon": 1}, "has 'moon', which there is not"),
        ("weather", [1], "its arguments is not of type object"),
    ],
)
def test_calls_that_do_not_fit_are_dropped_with_the_reason(name: str, arguments: Any, why: str) -> None:
    with pytest.raises(BadRow, match=why):
        read("messages", called(name, arguments))
    pair_row = {"prompt": called(name, arguments)["messages"][:1], "tools": TOOLS}
    pair_row |= {"chosen": called(name, arguments)["messages"][1:], "rejected": "no"}
    with pytest.raises(BadRow, match=why):
        read("preference", pair_row)


def test_a_schema_that_is_none_is_said_and_unknown_words_are_believed() -> None:
    with pytest.raises(BadRow, match="no name"):
        read("messages", called("weather", {}, [{"type": "function"}]))
    with pytest.raises(BadRow, match="no JSON schema"):
        read("messages", called("weather", {}, [{"name": "weather", "parameters": "city"}]))
    loose = [{"name": "weather", "parameters": {"type": "dict", "properties": {"city": {"type": "str"}}}}]
    assert read("messages", called("weather", {"city": 3}, loose)).tools == tuple(loose)


def test_reasoning_is_read_and_told_where_no_template_writes_it(ready: Any) -> None:
    turn = {"role": "assistant", "content": "two", "reasoning": "one and one"}
    record = read("messages", {"messages": [{"role": "user", "content": "?"}, turn]})
    assert (record.messages or ())[-1].extra == {"reasoning_content": "one and one"}
    thought = {**pair(1), "reasoning": "one and one"}
    assert (read("alpaca", thought).messages or ())[-1].extra == {"reasoning_content": "one and one"}
    ledger = ready([thought, pair(2)]).ledger
    assert ledger.notes[UNWRITTEN] == 1
    assert ledger.examples[UNWRITTEN][0].text == "one and one"


def test_images_are_carried_in_every_shape() -> None:
    asked = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}, "What?"]}
    said = {"role": "assistant", "content": "A cat."}
    rows = [
        ("messages", {"messages": [asked, said]}),
        ("image-text", {"image": "a.png", "messages": [{"role": "user", "content": "What?"}, said]}),
        ("image-text", {"image": {"path": "a.png"}, "question": "What?", "answer": "A cat."}),
        (
            "image-text",
            {
                "images": ["a.png"],
                "conversations": [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "A cat."}],
            },
        ),
    ]
    for name, row in rows:
        record = read(name, row)
        assert record.images == ("a.png",)
        assert [turn.content for turn in record.messages or ()] == ["<image>What?", "A cat."]
    raw = read("image-text", {"image": b"\x89PNG", "text": "A cat."}).images[0]
    assert base64.b64decode(raw.partition(",")[2]) == b"\x89PNG"
    with pytest.raises(BadRow, match="stands 2 times in a row of 1 images"):
        read("image-text", {"image": "a.png", "question": "<image> or <image>?", "answer": "x"})
    with pytest.raises(BadRow, match="not a path"):
        read("image-text", {"image": 7, "text": "x"})


def test_images_of_parquet_files_become_texts_that_json_holds(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"image": {"bytes": b"\x89PNG", "path": "a.png"}, "label": "cat"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    source = open_source(str(tmp_path / "a.parquet"))
    (row,) = source.rows()
    assert not isinstance(row.value, Broken)
    assert row.value["image"]["bytes"] == "data:application/octet-stream;base64,iVBORw=="
    assert recognised(SourceConfig(path=source.path), source).format.name == "image-text"
    assert read("image-text", row.value).images == ("data:application/octet-stream;base64,iVBORw==",)


def test_training_on_images_is_refused_in_a_clear_sentence(ready: Any) -> None:
    row = {"image": "a.png", "text": "A cat."}
    with pytest.raises(UserError, match="no model that Tunesmith trains reads any yet") as refused:
        ready([row] * 3)
    assert refused.value.code == "images-not-trained"
    looked = ready([row] * 3, accept=False)
    assert looked.ledger.sources[0].format == "image-text"
    assert looked.ledger.reasons == {f"dropped: {IMAGES}": 3}


def test_labelled_places_become_tagged_words() -> None:
    text = "Ada Lovelace-King met Bob (in New York)."
    spans = [{"start": 0, "end": 12, "label": "PER"}, [22, 25, "PER"], {"start": 30, "end": 38, "label": "LOC"}]
    record = read("spans", {"text": text, "entities": spans})
    words = [text[start:end] for start, end in record.spans]
    assert words == ["Ada", "Lovelace", "-", "King", "met", "Bob", "(", "in", "New", "York", ")", "."]
    assert record.labels == ("B-PER", "I-PER", "O", "O", "O", "B-PER", "O", "O", "B-LOC", "I-LOC", "O", "O")
    halves = read("spans", {"text": "BlueSky", "spans": [[0, 4, "A"], [4, 7, "A"]]})
    assert (halves.spans, halves.labels) == (((0, 4), (4, 7)), ("B-A", "B-A"))
    for bad in ([[0, 9, "A"], [4, 12, "B"]], [[5, 2, "A"]], [[0, 99, "A"]], ["x"], [[0, 3]]):
        with pytest.raises(BadRow, match=r"overlap|within"):
            read("spans", {"text": text, "spans": bad})


def test_a_folder_of_text_and_code_is_one_document_a_file(tmp_path: Path) -> None:
    for name, text in {
        "src/a.py": "print(1)\n",
        "README.md": "# Hello",
        ".git/config.txt": "secret",
        "Makefile": "all:",
        "photo.png": "x",
        "empty.py": "",
        "data.json": '{"rows": 3}',
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "bad.c").write_bytes(b"\xff\xfe\x00")
    source = open_source(str(tmp_path), unit="files")
    rows = {Path(row.file).name: row.value for row in source.rows()}
    assert set(rows) == {"a.py", "README.md", "Makefile", "data.json", "bad.c"}
    assert rows["a.py"] == {"text": "print(1)\n", "path": "src/a.py", "language": "python"}
    assert rows["bad.c"] == Broken("the file is no UTF-8 text")
    assert recognised(SourceConfig(path=source.path), source).format.name == "files"
    before = source.fingerprint()
    (tmp_path / "src/a.py").rename(tmp_path / "src/b.py")
    assert open_source(str(tmp_path), unit="files").fingerprint() != before
    (tmp_path / "data.json").unlink()
    assert len(list(open_source(str(tmp_path)).rows())) == 4  # no data file: documents by themselves
    one = open_source(str(tmp_path / "src/b.py"))
    assert [row.value for row in one.rows()] == [{"text": "print(1)\n", "path": "b.py", "language": "python"}]


def test_a_folder_of_code_is_trained_on(ready: Any, tmp_path: Path, plain_encoder: Any) -> None:
    from small_rows import encode_answers

    from tunesmith.data.prepare import prepare
    from tunesmith.recipe.schema import DataConfig

    folder = tmp_path / "code"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.py").write_text(f"print({number})\n")
    config = DataConfig(train=[{"path": str(folder), "format": "files"}], validation=0.0)
    prepared = prepare(config, encode_answers, plain_encoder, seed=0, cache=tmp_path / "cache", options_key="")
    assert (len(prepared.train), prepared.ledger.sources[0].format) == (5, "files")


def test_what_is_no_text_is_left_alone_by_steps_that_mend_texts() -> None:
    from tunesmith.data.curate.texts import PLACED, Editor, text_columns

    loud = Editor(lambda text: (text.upper(), ("loud",)))
    uri = "data:image/png;base64,aGk="
    row = {"images": [uri], "text": "a cat", "path": "a/b.py", "language": "python"}
    for name, kept in (("image-text", {"images", "path", "language"}), ("files", {"images", "path", "language"})):
        found = loud.row(row, text_columns(FORMATS.load(name), {}))
        assert found["text"] == "A CAT"
        assert {key for key in row if found[key] == row[key]} == kept
    image = {"type": "image_url", "image_url": {"url": uri}}
    turn = {"role": "user", "content": [image, {"type": "text", "text": "a"}]}
    (mended,) = loud.row({"messages": [turn]}, text_columns(FORMATS.load("messages"), {}))["messages"]
    assert mended["content"] == [image, {"type": "text", "text": "A"}]
    assert "spans" in PLACED
