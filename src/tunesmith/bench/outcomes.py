"""What each test row came to: the numbers that scores are averages of, and that pairs are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from tunesmith.bench.cells import Done


def score_name(done: Done) -> str:
    """What ``outcomes`` are: labels told right, answers equal to the reference, or nats a token (better low)."""
    if "accuracy" in _columns(done):
        return "accuracy"
    return "exact_match" if done.after.get("answers") else "nll"


def outcomes(done: Done) -> Any:
    """One number a test row, float64 ``[rows]``, in the order of the rows."""
    name = score_name(done)
    if name == "accuracy":
        return np.array(_columns(done)["accuracy"])
    if name == "exact_match":
        return np.array([row["scores"]["exact_match"] for row in done.after["answers"]])
    sums = done.after["sums"]["task"]
    return np.array(sums["nll"]) / np.maximum(np.array(sums["tokens"]), 1.0)


def _columns(done: Done) -> dict[str, list[float]]:
    """What a task head's marks hold of every test row."""
    found: dict[str, list[float]] = done.after.get("sums", {}).get("task", {}).get("columns", {})
    return found
