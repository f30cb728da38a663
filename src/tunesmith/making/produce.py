"""The driver: units in order, what was made appended to files, counts beside them, going on where it was stopped.

    rows.jsonl           what was made, in the order of its parents
    rows.ledger.json     how and with what options, counts, reasons of drops with the first places of each, means; and
                         how far it came

The ledger is written after every batch and says how long the files were then: what a killed process wrote after it is
cut off again, so that a stopped and continued file is the file of one go, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.lines import json_line, raw_lines
from tunesmith.errors import UserError
from tunesmith.events import Event, Sink, silent
from tunesmith.files import disk_errors, write_json
from tunesmith.making.base import Builder, Made, Making

AT_ONCE = 64
Z = 1.96
"""Standard deviations that hold 95% of a normal distribution, either way."""
SHOWN = 5
"""Places that the ledger names for each reason of a drop."""


@dataclass(frozen=True)
class Files:
    """Where rows go, and pairs where they are wanted; the ledger stands beside the rows."""

    rows: Path
    pairs: Path | None = None

    @property
    def ledger(self) -> Path:
        """``rows.ledger.json`` of ``rows.jsonl``."""
        return self.rows.with_name(f"{self.rows.stem}.ledger.json")

    @property
    def written(self) -> dict[str, Path]:
        """The files that rows are appended to, by what is in them."""
        return {"rows": self.rows, **({} if self.pairs is None else {"pairs": self.pairs})}


def key_of(maker: Builder, inputs: Mapping[str, Any]) -> str:
    """A digest of everything that decides what is made."""
    values = {"maker": maker.NAME, **maker.model_dump(mode="json"), **inputs}
    return hashlib.blake2b(json.dumps(values, sort_keys=True, default=str).encode(), digest_size=20).hexdigest()


def begin(files: Files, key: str, maker: Builder, inputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The ledger to start or to go on with; the files are cut to what it counts. ``inputs`` is what rows are made from.

    Raises ``UserError``: ``rows-exist`` where a file is there that this command did not write.
    """
    ledger = _found(files)
    if ledger is None:
        ledger = {
            "how": maker.NAME,
            "recipe": {**maker.model_dump(mode="json"), **(inputs or {})},
            "key": key,
            "finished": False,
            "done": 0,
            "of": None,
            "written": dict.fromkeys(files.written, 0),
            "bytes": dict.fromkeys(files.written, 0),
            "dropped": {},
            "measured": {},
        }
        write_json(files.ledger, ledger)
    elif ledger["key"] != key or ledger["bytes"].keys() != files.written.keys():
        raise _exists([str(files.ledger)])
    for name, path in files.written.items():
        _cut(path, ledger["bytes"][name], files.ledger)
    return ledger


def _found(files: Files) -> dict[str, Any] | None:
    """The ledger of what was made before; None where nothing was."""
    taken = [str(path) for path in files.written.values() if _size(path) is not None]
    if not files.ledger.exists():
        if taken:
            raise _exists(taken)
        return None
    ledger = _read(files.ledger)
    return ledger if ledger["done"] or any(_size(path) for path in files.written.values()) else None


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def _cut(path: Path, length: int, ledger: Path) -> None:
    """Cut ``path`` to the ``length`` that its ledger counts."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        found = path.stat().st_size
        if found >= length:
            os.truncate(path, length)
            return
    raise UserError(
        f"{path} is not what its ledger says",
        got=f"{found} bytes",
        allowed=f"{length} bytes or more",
        hint=f"Remove {ledger} and {path} to make them again.",
        code="damaged-file",
    )


def kept_rows(files: Files) -> list[Mapping[str, Any]]:
    """What was written so far."""
    if not files.rows.is_file():
        return []
    return [json.loads(line) for line in raw_lines(files.rows)]


def produce(
    making: Making,
    ledger: dict[str, Any],
    files: Files,
    *,
    kept: list[Mapping[str, Any]],
    units: str = "rows",
    emit: Sink = silent,
) -> dict[str, Any]:
    """Make what is not made yet and return the ledger; ``kept`` gets every row that is written."""
    ledger["of"] = making.units
    for numbers in _batches(making, ledger):
        made = making.make(numbers)
        _append(made, numbers, ledger, files, kept, making.wanted)
        ledger["done"] = numbers[-1] + 1
        ledger["finished"] = _enough(making, ledger)
        write_json(files.ledger, ledger)
        counts = ", ".join(f"{count:,} {name}" for name, count in ledger["written"].items())
        emit(Event("phase", 0, {"text": f"{ledger['done']:,} of {making.units:,} {units}: {counts} written"}))
    if not ledger["finished"]:  # nothing to do at all
        ledger["finished"] = True
        write_json(files.ledger, ledger)
    return ledger


def _batches(making: Making, ledger: Mapping[str, Any]) -> Iterator[range]:
    size = making.together or AT_ONCE
    while not _enough(making, ledger):
        first = ledger["done"]
        yield range(first, min(first + size, making.units))


def _enough(making: Making, ledger: Mapping[str, Any]) -> bool:
    wanted = making.wanted is not None and ledger["written"]["rows"] >= making.wanted
    return wanted or ledger["done"] >= making.units


def _append(
    made: Sequence[Made],
    numbers: Sequence[int],
    ledger: dict[str, Any],
    files: Files,
    kept: list[Mapping[str, Any]],
    wanted: int | None,
) -> None:
    """Write what came of a batch, and count it."""
    found: dict[str, list[Mapping[str, Any]]] = {"rows": [], "pairs": []}
    for number, one in zip(numbers, made, strict=True):
        if wanted is not None and ledger["written"]["rows"] + len(found["rows"]) >= wanted:
            break
        found["rows"] += one.rows
        found["pairs"] += one.pairs
        for reason in one.dropped:
            entry = ledger["dropped"].setdefault(reason, {"count": 0, "first": []})
            entry["count"] += 1
            entry["first"] += [number + 1] if len(entry["first"]) < SHOWN else []
        for name, value in one.measured.items():
            _measure(ledger["measured"].setdefault(name, {"n": 0, "mean": 0.0, "squares": 0.0}), value)
    kept += found["rows"]
    for name, path in files.written.items():
        text = b"".join(map(json_line, found[name]))
        with disk_errors(path), path.open("ab") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        ledger["written"][name] += len(found[name])
        ledger["bytes"][name] += len(text)


def _measure(entry: dict[str, float], value: float) -> None:
    """A running mean, and the sum of squares about it (Welford 1962)."""
    entry["n"] += 1
    away = value - entry["mean"]
    entry["mean"] += away / entry["n"]
    entry["squares"] += away * (value - entry["mean"])


def estimates(ledger: Mapping[str, Any]) -> dict[str, dict[str, float | int | None]]:
    """``{name: {value, low, high, n}}`` of what was measured: means with their 95% intervals."""
    found: dict[str, dict[str, float | int | None]] = {}
    for name, entry in ledger["measured"].items():
        low, high = _interval(entry["mean"], entry["squares"], int(entry["n"]))
        found[name] = {"value": entry["mean"], "low": low, "high": high, "n": int(entry["n"])}
    return found


def summary(ledger: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """What was made, for whoever asked for it."""
    return {
        "how": ledger["how"],
        **{name: str(path) for name, path in files.written.items()},
        "ledger": str(files.ledger),
        "written": ledger["written"],
        "done": ledger["done"],
        "of": ledger["of"],
        "dropped": {reason: entry["count"] for reason, entry in ledger["dropped"].items()},
        "measured": estimates(ledger),
    }


def _interval(mean: float, squares: float, count: int) -> tuple[float | None, float | None]:
    """The normal interval of a mean; of a share (all values 0 or 1) Wilson's (1927)."""
    if count < 2:
        return None, None
    if abs(squares - count * mean * (1 - mean)) < 1e-9 * count and 0 <= mean <= 1:
        centre, room = (mean + Z**2 / 2 / count), Z * (mean * (1 - mean) / count + (Z / 2 / count) ** 2) ** 0.5
        return (centre - room) / (1 + Z**2 / count), (centre + room) / (1 + Z**2 / count)
    wide = Z * (squares / (count - 1) / count) ** 0.5
    return mean - wide, mean + wide


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}", hint="Remove it and its rows.", code="damaged-file") from None
    if not isinstance(found, dict) or not {"key", "done", "bytes"} <= found.keys():
        raise _exists([str(path)])
    return found


def _exists(paths: Sequence[str]) -> UserError:
    return UserError(
        "there is something else already where rows are to be written",
        got=list(paths),
        hint="Choose another --out (and --pairs), or remove it. The very command that began a file goes on with it.",
        code="rows-exist",
    )
