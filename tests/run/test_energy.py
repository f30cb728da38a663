"""Energy from counters of the kernel and of the driver: sums, ends of counters, and silence where nothing is told."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tunesmith.events import Event
from tunesmith.run import energy
from tunesmith.run.energy import Counter, Meter, gpus, meter, processors
from tunesmith.run.measured import measured


def zone(folder: Path, place: str, name: str, microjoules: int | None) -> Path:
    path = folder / place
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text("1000000000\n")
    if microjoules is not None:
        (path / "energy_uj").write_text(f"{microjoules}\n")
    return path / "energy_uj"


def test_packages_and_memory_are_added_and_parts_of_them_are_not(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    cores = zone(tmp_path, "intel-rapl:0:0", "core", 1_000_000)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 2_000_000)
    again = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 5_000_000)
    whole = zone(tmp_path, "intel-rapl:1", "psys", 9_000_000)
    zone(tmp_path, "intel-rapl:2", "package-1", None)
    (tmp_path / "intel-rapl").mkdir()
    own = Meter(processors(tmp_path))
    for file, now in ((package, 8_500_000), (cores, 3_000_000), (memory, 2_250_000), (again, 1), (whole, 99_000_000)):
        file.write_text(str(now))
    spent = own.lap()
    assert spent.joules == pytest.approx(3.75)
    assert own.lap().joules == 0.0


def test_a_counter_that_came_to_its_end() -> None:
    told = iter([990.0, 40.0, 60.0])
    own = Meter([Counter(lambda: next(told), wraps=1000.0)])
    assert own.lap().joules == pytest.approx(50.0)
    assert own.lap().joules == pytest.approx(20.0)


def test_where_nothing_is_told_there_is_none(tmp_path: Path) -> None:
    own = Meter(processors(tmp_path / "no such folder"))
    sum(range(3_000_000))
    spent = own.lap()
    assert spent.joules is None
    assert spent.cpu_seconds > 0.005
    assert gpus("no-such-library.so") == []
    assert meter("cpu").lap().cpu_seconds >= 0.0


class Driver:
    """An NVML of two GPUs, the second of which does not count."""

    def __init__(self) -> None:
        self.millijoules = 7000

    def nvmlInit_v2(self) -> int:  # noqa: N802 - the driver's names
        return 0

    def nvmlDeviceGetHandleByUUID(self, name: bytes, handle: Any) -> int:  # noqa: N802
        handle._obj.value = {b"GPU-one": 1, b"GPU-two": 2}[name]
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, used: Any) -> int:  # noqa: N802
        if handle.value != 1:
            return 3
        used._obj.value = self.millijoules
        return 0


def test_a_gpu_is_asked_by_the_number_torch_knows_it_by(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: driver)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    names = ("one", "two")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=names[number]))
    own = Meter(gpus())
    driver.millijoules += 2500
    assert own.lap().joules == pytest.approx(2.5)
    monkeypatch.setattr(energy, "processors", list)
    driver.millijoules += 500
    assert meter("cpu").lap().joules is None


def test_updates_cost_what_was_spent_in_them_and_evaluations_are_left_out() -> None:
    used = [0.0]
    heard: list[Event] = []
    emit = measured(heard.append, {}, device="cpu", meter=lambda _: Meter([Counter(lambda: used[0])]))
    for kind, spent in (
        ("start", 5.0),
        ("step", 2.0),
        ("note", 1.0),
        ("step", 3.0),
        ("evaluation", 7.0),
        ("step", 4.0),
    ):
        used[0] += spent
        emit(Event(kind, 1, {}))  # type: ignore[arg-type]
    assert [event.values["joules"] for event in heard if event.kind == "step"] == [2.0, 4.0, 4.0]
    assert all("cpu_seconds" in event.values for event in heard if event.kind == "step")
    bare: list[Event] = []
    measured(bare.append, {}, device="cpu", meter=lambda _: Meter([]))(Event("step", 1, {}))
    assert "joules" not in bare[0].values
