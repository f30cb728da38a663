"""Samples for the tests of rewards."""

from __future__ import annotations

from typing import Any

from tunesmith.contracts.reward import Sample


def said(answer: str = "", reference: str | None = None, **more: Any) -> Sample:
    return Sample(more.pop("prompt", "How many ducks?"), answer, reference=reference, **more)
