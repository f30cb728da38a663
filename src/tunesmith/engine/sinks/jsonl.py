"""``events.jsonl``: one line an event, flushed at once; the record other parts read.

A resumed run cuts the record back to its checkpoint, so that a step stands there once.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tunesmith.events import Event
from tunesmith.files import disk_errors, write_text


class JsonlSink:
    """Appends events to ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, event: Event) -> None:
        """Append one event."""
        line = json.dumps({"kind": event.kind, "step": event.step, **_plain(event.values)}, ensure_ascii=False)
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a record (a killed process may leave half of its last line)."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def cut_after(path: Path, step: int) -> None:
    """Drop events beyond ``step``: the resumed run will write them again."""
    kept = [json.dumps(event, ensure_ascii=False) for event in read(path) if event["step"] <= step]
    write_text(path, "".join(line + "\n" for line in kept))


def _plain(values: Any) -> Any:
    if isinstance(values, dict):
        return {str(key): _plain(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_plain(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values
