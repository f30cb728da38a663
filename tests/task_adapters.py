"""Two bottleneck adapters trained for different tasks on one tiny base: what a fusion starts from."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import torch

from families import tiny


@cache
def _home() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@cache
def trained_adapters(family: str, kind: str = "pfeiffer") -> list[str]:
    """Folders of two adapters of ``kind`` for ``tiny(family)``, of different widths, far from their starts."""
    from tunesmith.methods.adapter import Adapter

    folders = []
    for index, size in enumerate((5, 3)):
        torch.manual_seed(index + 10)
        attached = Adapter(kind=kind, size=size).attach(tiny(family))
        values = {
            name: parameter.detach() + torch.randn_like(parameter) * 0.1
            for group in attached.groups()
            for name, parameter in group.parameters.items()
        }
        folder = Path(_home().name) / f"{family}-{kind}-{index}"
        attached.save(folder, values)
        folders.append(str(folder))
    return folders
