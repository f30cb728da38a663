"""What this machine is and has: versions, hardware, measured speeds, extras."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "pydantic", "numpy", "peft", "datasets", "trl")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def machine() -> dict[str, Any]:
    """Everything ``tunesmith doctor`` shows, as plain values; measures matrix products for some tens of ms."""
    import torch

    from tunesmith.models.precision import choose, speeds

    device = "cuda" if torch.cuda.is_available() else "cpu"
    measured = speeds(device)
    return {
        "versions": {"tunesmith": _version("tunesmith"), "python": platform.python_version(), **_libraries()},
        "hardware": {
            "system": platform.platform(terse=True),
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_bytes": _memory(),
            "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        },
        "threads": {"torch": torch.get_num_threads(), "idle": os.environ.get("OMP_WAIT_POLICY", "library default")},
        "speeds": {
            "device": device,
            "float32_gflops": round(measured.float32 / 1e9, 1),
            "bfloat16_gflops": round(measured.bfloat16 / 1e9, 1),
            "dtype": str(choose("auto", torch.float32, device)).removeprefix("torch."),
        },
        "extras": extras(),
    }


def extras() -> list[dict[str, Any]]:
    """The optional parts: what each needs, what of it is missing, and the command that installs it."""
    needs: dict[str, list[str]] = {}
    for requirement in metadata("tunesmith").get_all("Requires-Dist") or []:
        package = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        if package and extra and package.group() != "tunesmith":
            needs.setdefault(extra.group(1), []).append(package.group())
    return [
        {
            "name": name,
            "needs": packages,
            "missing": [package for package in packages if _version(package) is None],
            "install": f"pip install 'tunesmith[{name}]'",
        }
        for name, packages in sorted(needs.items())
    ]


def _libraries() -> dict[str, str | None]:
    return {name: _version(name) for name in LIBRARIES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        names = re.findall(r"^model name\s*:\s*(.+)$", path.read_text(errors="replace"), re.MULTILINE)
        if names:
            return str(names[0])
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    """Bytes this process may use: the machine's memory, or the container's limit where that is lower."""
    if not hasattr(os, "sysconf"):
        return None
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else "max"
    return min(total, int(limit)) if limit.isdigit() else total
