"""A page read by a program: every number and text that names its source, and every figure that names none."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from math import isclose, prod
from pathlib import Path
from typing import Any

QUIET = ("style", "title", "figcaption", "svg", "pre", "code")
"""Elements whose text is no statement of the page: drawings and their titles, files as they are."""
RECKONED: dict[str, Callable[[list[Any]], Any]] = {
    "value": lambda values: values[0],
    "product": prod,
    "ratio": lambda values: values[0] / values[1],
    "difference": lambda values: values[0] - values[1],
    "sum": sum,
    "count": len,
    "true": lambda values: values.count(True),
    "mean": statistics.fmean,
}


@dataclass
class Said:
    """One element with a source: its attributes and text."""

    attributes: dict[str, str]
    text: str = ""


@dataclass
class Reader(HTMLParser):
    """``numbers`` (``<data>``), ``texts`` (other elements with a source), and digits that stand anywhere else."""

    numbers: list[Said] = field(default_factory=list)
    texts: list[Said] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[tuple[str, Said | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("meta", "br", "hr", "img"):
            return
        attributes = {name: value or "" for name, value in attrs}
        said = None
        if "id" in attributes:
            self.names.append(attributes["id"])
        if tag == "figure":
            self.figures.append(attributes["data-from"])
        elif tag == "data" or "data-from" in attributes or "data-key-of" in attributes:
            said = Said(attributes)
            (self.numbers if tag == "data" else self.texts).append(said)
        self._open.append((tag, said))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Drawn shapes say nothing."""

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if any(tag in QUIET for tag, said in self._open if said is None):
            return
        holders = [said for _, said in self._open if said is not None]
        if holders:
            holders[-1].text += data
        elif re.search(r"\d", re.sub(r"F1|95%|@\d+", "", data)):
            self.loose.append(data.strip())


def read(page: str) -> Reader:
    """All that ``page`` says."""
    reader = Reader()
    reader.feed(page)
    return reader


class Folder:
    """The files of run folders, looked up by source; written apart from the code that made the page."""

    def __init__(self, places: dict[str, Path]) -> None:
        self._places = places
        self._files: dict[str, Any] = {}

    def values(self, sources: str) -> list[Any]:
        """What stands at each of ``sources``."""
        return [value for source in sources.split(" ") for value in self._at(source)]

    def _at(self, source: str) -> list[Any]:
        name, _, place = source.partition("#")
        if name not in self._files:
            prefix = next(prefix for prefix in sorted(self._places, reverse=True) if name.startswith(prefix))
            self._files[name] = load(self._places[prefix] / name.removeprefix(prefix))
        value = self._files[name]
        if not place.startswith("/"):
            kind, key = place.split("/", 1)
            return [event[key] for event in value if event["kind"] == kind and key in event]
        for part in place[1:].split("/") if place != "/" else []:
            key = part.replace("%20", " ").replace("~1", "/").replace("~0", "~")
            value = value[int(key)] if isinstance(value, list) else value[key]
        return [value]


def load(path: Path) -> Any:
    """A file of a run folder."""
    text = path.read_text()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    if path.suffix == ".yaml":
        from ruamel.yaml import YAML

        return YAML(typ="safe").load(text)
    return json.loads(text)


def wrong(reader: Reader, folder: Folder) -> list[str]:
    """Numbers that are not what their sources give, and texts that do not stand there."""
    found = []
    for said in reader.numbers:
        attributes = said.attributes
        wanted = RECKONED[attributes.get("data-how", "value")](folder.values(attributes["data-from"]))
        same = attributes["value"] == str(wanted) if isinstance(wanted, bool | str) else isclose(
            float(attributes["value"]), wanted, rel_tol=1e-12
        )  # fmt: skip
        if not same:
            found.append(f"{attributes}: {wanted}")
    for said in reader.texts:
        attributes = said.attributes
        if "data-key-of" in attributes:
            if said.text not in folder.values(attributes["data-key-of"])[0]:
                found.append(f"{said.text!r} is no key of {attributes['data-key-of']}")
            continue
        wanted = str(folder.values(attributes["data-from"])[0])
        if said.text != wanted and not ("data-part" in attributes and said.text in wanted):
            found.append(f"{said.text!r} is not {wanted!r}")
    return found
