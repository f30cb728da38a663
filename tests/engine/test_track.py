"""Trackers hear numbers of steps and evaluations, under stable names, and are closed at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tunesmith.engine.sinks import track
from tunesmith.errors import UserError
from tunesmith.events import Event


def test_a_tracker_hears_numbers_by_name_and_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    heard: list[Any] = []

    def build(run: str, folder: Path) -> Any:
        heard.append((run, folder))

        def log(numbers: Mapping[str, float], step: int) -> None:
            heard.append((dict(numbers), step))

        return log, lambda: heard.append("closed")

    monkeypatch.setitem(track.BUILDERS, "wandb", build)
    (sink,) = track.trackers(["wandb"], run="mine", folder=tmp_path)
    sink(Event("start", 0, {"steps": 2}))
    sink(Event("step", 1, {"loss": 2.5, "tokens": 7, "epoch": 0.5}))
    sink(Event("evaluation", 1, {"validation_loss": 2.0, "best": True, "stopped_early": False}))
    sink(Event("note", 1, {"text": "words"}))
    sink(Event("end", 1, {"finished": True}))
    assert heard == [
        ("mine", tmp_path),
        ({"train/loss": 2.5, "train/tokens": 7.0, "train/epoch": 0.5}, 1),
        ({"validation/loss": 2.0}, 1),
        "closed",
    ]


@pytest.mark.parametrize("name", sorted(track.BUILDERS))
def test_a_missing_tracker_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(track, "find_spec", lambda _: None)
    with pytest.raises(UserError) as raised:
        track.trackers([name], run="r", folder=tmp_path)
    assert raised.value.code == "missing-extra"
    assert "tunesmith[track]" in str(raised.value)
