"""Commands are run in this process, as the console script runs them."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from said import Said, Tunesmith

import tunesmith
from tunesmith.cli import main as entry


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Tunesmith:
    """Run a command line and catch what it says."""

    def run(*words: object) -> Said:
        code = entry.main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An empty stand-in for ``tunesmith.run``, to see what a command passes to it and does with the answer."""
    stand_in = ModuleType("tunesmith.run")
    monkeypatch.setitem(sys.modules, "tunesmith.run", stand_in)
    monkeypatch.setattr(tunesmith, "run", stand_in, raising=False)
    return stand_in
