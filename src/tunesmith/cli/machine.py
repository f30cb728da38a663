"""What this machine is and has: versions, hardware, measured speeds, extras."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any


def machine() -> dict[str, Any]:
    """Everything ``tunesmith doctor`` shows, as plain values; measures matrix products for some tens of ms."""
    import torch

    from tunesmith.models.precision import choose, speeds
    from tunesmith.run.environment import environment

    found = environment()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    measured = speeds(device)
    return {
        "versions": {"python": found["python"], **found["packages"]},
        "hardware": {key: found[key] for key in ("platform", "processor", "cores", "memory_bytes", "devices")},
        "threads": {"torch": found["threads"], "idle": os.environ.get("OMP_WAIT_POLICY", "library default")},
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
    for requirement in distribution("tunesmith").requires or []:
        package = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        if package and extra and package.group() != "tunesmith":
            needs.setdefault(extra.group(1), []).append(package.group())
    return [
        {
            "name": name,
            "needs": packages,
            "missing": [package for package in packages if not _installed(package)],
            "install": f"pip install 'tunesmith[{name}]'",
        }
        for name, packages in sorted(needs.items())
    ]


def _installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
