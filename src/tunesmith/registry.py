"""Tables ``name -> import string``: how a part is found by its name without importing the others.

A pluggable folder holds one ``Table``. Third parties join through entry points of the group ``tunesmith.<kind>``:

    [project.entry-points."tunesmith.methods"]
    mine = "my_package.mine:Mine"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from tunesmith.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Table:
    """Names of one kind of part and where each lives (``"package.module:attribute"``)."""

    kind: str
    """Singular noun used in messages: ``method``, ``objective`` …"""
    entries: Mapping[str, str]

    @cached_property
    def all(self) -> dict[str, str]:
        """Own entries and those of installed plugins; a plugin may not take an own name."""
        found = {point.name: point.value for point in entry_points(group=f"tunesmith.{self.kind}s")}
        return {**found, **self.entries}

    def load(self, name: str) -> Any:
        """The object behind ``name``; a ``UserError`` with the closest name where there is none."""
        if name not in self.all:
            raise UserError(
                f"unknown {self.kind}",
                got=f"'{name}'",
                allowed=sorted(self.all),
                hint=did_you_mean(name, self.all),
                code=f"unknown-{self.kind}",
            )
        module, _, attribute = self.all[name].partition(":")
        return getattr(import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.all))

    def __contains__(self, name: object) -> bool:
        return name in self.all
