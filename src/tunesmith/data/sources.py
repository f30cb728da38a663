"""Where rows come from: files, folders of files, hub data sets. Rows stream; nothing here holds a jsonl file in memory.

A file that cannot be read as what its name says is the user's mistake and names the line; a row that is readable but
is no object (or has the wrong number of cells) is handed on as a ``Broken`` row for the ledger.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith.data.documents import documents_in, hidden, language_of, read_document
from tunesmith.data.label_files import LABEL_FIRST, TAG_LINES, label_lines, of_split, tag_lines, unfolded
from tunesmith.data.lines import Line, raw_lines
from tunesmith.data.parquet import parquet_rows
from tunesmith.errors import UserError, did_you_mean

UNITS = ("paragraphs", "lines", "files")
"""Formats that say how files are cut into rows."""
DOCUMENT_END = "<|endoftext|>"
DELIMITERS = ",;\t|"
CURATED_FILE = ".curated"
"""Ending of the files that ``data.curate`` keeps: where a row came from, and the row or why it was dropped."""
BESIDE = (".ledger.json", ".review.jsonl")
"""Endings of files that commands write beside rows; a folder's rows are not in them."""
BAD_LINES = 5
"""Bad lines of one file that are named; the others are counted."""


@dataclass(frozen=True)
class Broken:
    """A row that is no row, and why; ``text`` shows it where it was a row and is one no longer."""

    reason: str
    text: str = ""


@dataclass(frozen=True)
class Row:
    """``value`` is the row's columns; ``line`` its 1-based line (jsonl, txt, csv) or row number in ``file``.

    ``notes`` say what was done to it before.
    """

    value: dict[str, Any] | Broken
    line: int
    file: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One place of rows, opened: ``rows`` may be iterated any number of times, always in the same order."""

    path: str
    rows: Callable[[], Iterator[Row]]
    fingerprint: Callable[[], bytes]
    """Digest of the content that ``rows`` is made of."""
    why: str = ""
    """Why its rows were read in the format they are in, where that is known before they are looked at."""


@dataclass(frozen=True)
class _Reading:
    """How files are read (see ``open_source``)."""

    unit: str = "text"
    split: str | None = None
    forgiving: bool = False


def unit_of(form: str) -> str:
    """How files are cut into rows of the format ``form`` (see ``open_source``)."""
    return form if form in UNITS else "text"


def is_local(path: str) -> bool:
    """Whether ``path`` is, or can only be meant as, a file or folder of this machine."""
    return Path(path).expanduser().exists() or not _looks_like_hub_id(path)


def open_source(path: str, *, split: str | None = None, unit: str = "text", forgiving: bool = False) -> Source:
    """The source behind ``path``.

    ``split`` chooses one of a hub data set or of a json file with several; ``unit`` says how txt files split (``text``,
    ``paragraphs``, ``lines``), or that every text or code file is one document (``files``). ``forgiving`` makes a line
    of a jsonl file that is no JSON a ``Broken`` row. Rows that were curated have the path, the files and the lines that
    they came from.
    """
    location = Path(path).expanduser()
    if location.suffix == CURATED_FILE and location.is_file():
        first = _curated_from(location)
        return Source(first["path"], lambda: _read_curated(location), lambda: _digest([location]), first["why"])
    if location.exists():
        return _local(path, location, _Reading(unit, split, forgiving))
    if _looks_like_hub_id(path):
        from tunesmith.data.hub import hub_source

        return hub_source(path, split)
    raise _missing(location)


def _local(path: str, location: Path, reading: _Reading) -> Source:
    folder = location if location.is_dir() else location.parent
    documents = _documents(location, reading)
    if documents:
        names = "".join(file.relative_to(folder).as_posix() for file in documents).encode()
        return Source(path, lambda: _read_documents(documents, folder), lambda: _digest(documents) + names)
    files = _files(location)
    fingerprint = lambda: _digest(files) + repr(reading.split).encode()  # noqa: E731 - a value among values
    return Source(path, lambda: _rows_of_files(files, reading), fingerprint)


def _documents(location: Path, reading: _Reading) -> list[Path]:
    """Files that are one document each; none where rows are read from data files."""
    if location.is_file():
        known = location.suffix.lower() in (*READERS, *LABEL_FIRST, *TAG_LINES)
        return [location] if language_of(location) and (reading.unit == "files" or not known) else []
    return documents_in(location) if reading.unit == "files" or not _data_files(location) else []


def _read_documents(files: list[Path], folder: Path) -> Iterator[Row]:
    for file in files:
        for line, value in read_document(file, folder):
            yield Row(Broken(value) if isinstance(value, str) else dict(value), line, str(file))


def _files(location: Path) -> list[Path]:
    if location.is_file():
        _reader(location, _Reading())
        return [location]
    files = _data_files(location)
    if not files:
        raise UserError(f"the folder {location} has no data file", allowed=list(READERS), code="no-data-file")
    return files


def _data_files(folder: Path) -> list[Path]:
    found = (file for file in folder.rglob("*") if file.is_file() and file.suffix.lower() in READERS)
    return sorted(file for file in found if not hidden(file, folder) and not file.name.endswith(BESIDE))


def _reader(file: Path, reading: _Reading) -> Callable[[Path], Iterator[Row]]:
    kind = file.suffix.lower()
    special: dict[str, Callable[[Path], Iterator[Row]]] = {
        ".txt": partial(_read_txt, unit=reading.unit),
        ".json": partial(_read_json, split=reading.split),
        ".jsonl": partial(_read_jsonl, forgiving=reading.forgiving),
        **dict.fromkeys(LABEL_FIRST, partial(_read_lines, lines=label_lines)),
        **dict.fromkeys(TAG_LINES, partial(_read_lines, lines=tag_lines)),
    }
    reader = special.get(kind) or READERS.get(kind)
    if reader is None:
        raise UserError(
            f"cannot tell what kind of file {file} is",
            got=f"ending '{file.suffix}'",
            allowed=[*READERS, *LABEL_FIRST, *TAG_LINES],
            hint="Rename it to the ending of its content.",
            code="unknown-file-type",
        )
    return reader


def _rows_of_files(files: list[Path], reading: _Reading) -> Iterator[Row]:
    for file in files:
        seen = False
        try:
            for row in _reader(file, reading)(file):
                seen = True
                yield row
        except UnicodeDecodeError as error:
            raise _not_utf8(file, error) from None
        if not seen:
            raise UserError(f"{file} is empty", hint="It holds no rows; check the path.", code="empty-file")


def _not_utf8(file: Path, error: UnicodeDecodeError) -> UserError:
    """What encoding the file seems to be in, and how to convert it."""
    with file.open("rb") as start:
        mark = start.read(2)
    wide = mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    strange = f"byte 0x{error.object[error.start]:02x} that UTF-8 does not allow here"
    encoding = "utf-16" if wide else "latin1"
    return UserError(
        f"{file} is not UTF-8 text",
        got="UTF-16, by its byte order mark" if wide else strange,
        hint=f"Convert it{'' if wide else ', for example'}: "
        f"iconv -f {encoding} -t utf-8 '{file}' > converted{file.suffix}",
        code="not-utf8",
    )


def _read_jsonl(file: Path, forgiving: bool = False) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                value = _loaded(line)
                if isinstance(value, _NoJson):
                    if not forgiving:
                        raise _bad_lines(file)
                    value = Broken(f"the line is no JSON ({value.why})", line.strip()[:100])
                yield Row(_object(value), number, str(file))


@dataclass(frozen=True)
class _NoJson:
    """Why a text is no JSON, and from which column on (0 where that is not known)."""

    why: str
    column: int = 0


def _loaded(text: str) -> Any:
    """What ``text`` says in JSON, or why it is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return _NoJson(error.msg, error.colno)
    except RecursionError:
        return _NoJson("it is nested too deep")
    except ValueError:  # Python reads no number of more than 4,300 digits
        return _NoJson("a number in it is too long")


def _bad_lines(file: Path) -> UserError:
    """All bad lines of ``file`` at once, so that nobody mends one only to be told of the next."""
    shown: list[str] = []
    count = 0
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            found = _loaded(line.rstrip() or "null")
            if isinstance(found, _NoJson):
                count += 1
                where = f" at column {found.column}" if found.column else ""
                if count <= BAD_LINES:
                    shown.append(f"line {number} ({found.why}{where}: {line.strip()[:60]})")
    where = shown[0].partition(" (")[0] if count == 1 else f"{count:,} lines"
    return UserError(
        f"bad JSON in {file} on {where}",
        got=[*shown, *([f"and {count - BAD_LINES:,} more"] if count > BAD_LINES else [])],
        hint="Every line of a jsonl file is one JSON object; mend or delete what is no JSON.",
        code="bad-json",
    )


def _read_lines(file: Path, lines: Callable[[Path], Iterator[tuple[int, dict[str, Any] | str]]]) -> Iterator[Row]:
    for number, value in lines(file):
        yield Row(Broken(value) if isinstance(value, str) else value, number, str(file))


def _read_json(file: Path, split: str | None = None) -> Iterator[Row]:
    text = file.read_text(encoding="utf-8-sig")
    if not text.strip():
        return
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and _is_json(text.lstrip().split("\n", 1)[0]):
            yield from _read_jsonl(file)
            return
        raise UserError(
            f"bad JSON in {file} on line {error.lineno}",
            got=f"{error.msg} at column {error.colno}",
            hint="A json file is one list of objects, or {'data': [...]}.",
            code="bad-json",
        ) from None
    rows = content.get("data") if isinstance(content, dict) else content
    if rows is None and isinstance(content, dict):
        rows = of_split(content, split, file)
    if not isinstance(rows, list):
        shape = f"an object with keys {', '.join(content)}" if isinstance(content, dict) else type(content).__name__
        raise UserError(
            f"{file} is not a list of rows", got=shape, allowed="a list, or {'data': [...]}", code="not-rows"
        )
    for number, row in enumerate(unfolded(rows), start=1):
        yield Row(_object(row), number, str(file))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def _object(value: Any) -> dict[str, Any] | Broken:
    return value if isinstance(value, dict | Broken) else Broken(f"the row is {type(value).__name__}, not an object")


def _curated_from(file: Path) -> dict[str, str]:
    """The path that the rows of a curated file came from, and why they were read in their format."""
    with file.open(encoding="utf-8") as lines:
        found: dict[str, str] = json.loads(next(lines))
    return found


def _read_curated(file: Path) -> Iterator[Row]:
    for one in map(Line.from_bytes, islice(raw_lines(file), 1, None)):
        value = Broken(one.reason, one.shown) if one.value is None else one.value
        yield Row(value, one.line, one.file, one.notes)


def _read_csv(file: Path) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    with file.open(encoding="utf-8-sig", newline="") as handle:
        first = handle.readline()
        handle.seek(0)
        table = csv.reader(handle, delimiter="\t" if file.suffix.lower() == ".tsv" else _delimiter(first))
        header = next(table, None)
        if header is None:
            return
        try:
            for cells in table:
                if cells:
                    yield Row(_cells(header, cells), table.line_num, str(file))
        except csv.Error as error:
            raise UserError(f"bad table in {file} on line {table.line_num}", got=str(error), code="bad-csv") from None


def _delimiter(header: str) -> str:
    """What separates the cells of a header: a comma, unless there is none and something else does."""
    cells = {mark: len(next(csv.reader([header], delimiter=mark), [])) for mark in DELIMITERS}
    return "," if cells[","] > 1 else max(DELIMITERS, key=lambda mark: cells[mark])


def _cells(header: list[str], cells: list[str]) -> dict[str, Any] | Broken:
    if len(cells) != len(header):
        return Broken("the row has another number of cells than the header")
    return dict(zip(header, cells, strict=True))


def _read_txt(file: Path, unit: str = "text") -> Iterator[Row]:
    with file.open(encoding="utf-8-sig") as lines:
        start, held = 1, list[str]()
        for number, line in enumerate(lines, start=1):
            ends = _ends_row(line, unit)
            if not ends or unit == "lines":
                held.append(line)
            if ends:
                yield from _text_row(held, start, file)
                start, held = number + 1, []
        yield from _text_row(held, start, file)


def _ends_row(line: str, unit: str) -> bool:
    if unit == "lines":
        return True
    return line.strip() == DOCUMENT_END or (unit == "paragraphs" and not line.strip())


def _text_row(held: list[str], line: int, file: Path) -> Iterator[Row]:
    text = "".join(held).strip("\n")
    if text.strip():
        yield Row({"text": text}, line, str(file))


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": partial(_read_lines, lines=parquet_rows),
    ".txt": _read_txt,
}


def _digest(files: list[Path]) -> bytes:
    digest = hashlib.blake2b(digest_size=32)
    for file in files:
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "blake2b").digest())
        digest.update(file.suffix.encode())
    return digest.digest()


def _looks_like_hub_id(path: str) -> bool:
    parts = path.split("/")
    named_like_file = Path(path).suffix.lower() in READERS or path.startswith((".", "~")) or Path(parts[0]).is_dir()
    return len(parts) == 2 and all(parts) and not named_like_file


def _missing(location: Path) -> UserError:
    folder = location.parent
    if not folder.is_dir():
        hint = f"The folder {folder} does not exist either."
    else:
        neighbours = [file.name for file in folder.iterdir()]
        close = did_you_mean(location.name, neighbours)
        hint = close or "Check the path; it is read relative to the folder the command runs in."
    return UserError(f"there is no file or folder {location}", hint=hint, code="missing-file")
