"""What computing costs: energy where the machine tells of it, and seconds of its processors everywhere.

Linux counts the energy of processor packages and memory in microjoules (RAPL, ``/sys/class/powercap``, often readable
by root alone), NVIDIA's driver that of a GPU in millijoules (NVML). Both count the whole device, whoever uses it.
A counter that begins anew is one that came to its end.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"
PARTS = ("package", "dram")
"""RAPL zones that do not overlap: cores and graphics are parts of a package, ``psys`` holds all of them (and what
``intel-rapl-mmio`` counts is a package once more)."""


@dataclass(frozen=True)
class Counter:
    """``joules()`` since some beginning, which starts again after ``wraps`` joules (0: never)."""

    joules: Callable[[], float]
    wraps: float = 0.0


@dataclass(frozen=True)
class Spent:
    """``joules`` are None where nothing tells of them; ``cpu_seconds`` are those of all threads of this process."""

    joules: float | None
    cpu_seconds: float


class Meter:
    """What was spent since it was last asked. Ask more often than a counter wraps: a package's does in some 40 min."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._counters = counters
        self._before = [counter.joules() for counter in counters]
        self._seconds = time.process_time()

    def lap(self) -> Spent:
        """What was spent since the last lap, or since the meter was made."""
        now, seconds = [counter.joules() for counter in self._counters], time.process_time()
        used = [
            new - old + (counter.wraps if new < old else 0.0)
            for counter, old, new in zip(self._counters, self._before, now, strict=True)
        ]
        spent = Spent(sum(used) if used else None, seconds - self._seconds)
        self._before, self._seconds = now, seconds
        return spent


def meter(device: str) -> Meter:
    """A meter of this machine's processors, and of its GPUs where ``device`` is one."""
    return Meter([*processors(), *(gpus() if device.startswith("cuda") else ())])


def processors(folder: Path = POWERCAP) -> list[Counter]:
    """A counter for each package and its memory, as far as they may be read."""
    found = []
    for zone in sorted(folder.glob("intel-rapl:*")):
        with suppress(OSError, ValueError):
            if not (zone / "name").read_text().startswith(PARTS):
                continue
            counter = Counter(_microjoules(zone / "energy_uj"), float((zone / "max_energy_range_uj").read_text()) / 1e6)
            counter.joules()  # what may not be read raises here
            found.append(counter)
    return found


def _microjoules(file: Path) -> Callable[[], float]:
    return lambda: float(file.read_text()) / 1e6


def gpus(library: str = NVML) -> list[Counter]:
    """A counter for each GPU that torch uses and whose driver counts."""
    found: list[Counter] = []
    with suppress(OSError, AttributeError):
        nvml = ctypes.CDLL(library)
        if nvml.nvmlInit_v2() != 0:
            return []
        for number in range(torch.cuda.device_count()):
            handle = ctypes.c_void_p()
            name = f"GPU-{torch.cuda.get_device_properties(number).uuid}"
            if nvml.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle)) == 0:
                found += _counting(nvml, handle)
    return found


def _counting(nvml: ctypes.CDLL, handle: ctypes.c_void_p) -> list[Counter]:
    used = ctypes.c_ulonglong()

    def joules() -> float:
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(used))
        return used.value / 1e3

    counts = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(used)) == 0
    return [Counter(joules)] if counts else []
