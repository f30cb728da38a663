"""The trackers themselves, offline, where the ``track`` extra is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.engine.sinks.track import BUILDERS, trackers
from tunesmith.events import Event


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_a_tracker_takes_a_run_and_writes_into_its_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when the package is imported
    pytest.importorskip(name, reason=f"needs the package {name} (the `track` extra)")
    if name == "mlflow":
        pytest.importorskip("sqlalchemy", reason="mlflow keeps its numbers in a database")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tracker,) = trackers([name], run="run", folder=tmp_path)
    for step in (1, 2, 3):
        tracker(Event("step", step, {"loss": 1.0 / step, "tokens": 5}))
    tracker(Event("evaluation", 3, {"validation_loss": 0.5, "best": True}))
    tracker(Event("end", 3, {"finished": True}))
    assert [path for path in tmp_path.rglob("*") if path.is_file()]
