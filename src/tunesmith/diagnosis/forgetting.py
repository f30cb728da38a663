"""Forgetting: text that the base itself wrote, or the retention files, became less likely."""

from __future__ import annotations

from tunesmith.diagnosis.history import Evidence, Finding, History

NOTED, GRAVE = 0.3, 1.5
"""Nats a token: from the first on it is told, from the second on it is grave."""


def look(history: History) -> Finding | None:
    """A loss on retained text that rose by more than chance and more than ``NOTED``."""
    found = ((history.report.get("changes") or {}).get("retention") or {}).get("nll") or {}
    change = found.get("change")
    if not change or found.get("verdict") != "worse" or change["value"] <= NOTED:
        return None
    at = "report.json#/changes/retention/nll"
    rate = history.rate
    return Finding(
        "forgetting",
        "bad" if change["value"] > GRAVE else "warn",
        f"The model lost {change['value']:.2f} nats a token on what its base knew: its loss there went from "
        f"{found['before']['value']:.3g} to {found['after']['value']:.3g}.",
        f"Mix old text into the training (addons: [{{name: replay, share: 0.1}}]), lower train.learning_rate (it was "
        f"{rate:g}), train for fewer epochs, or use a smaller rank.",
        [
            Evidence(f"change {change['value']:.3g}, 95% interval {change['low']:.3g} to {change['high']:.3g}",
                     f"{at}/change/value"),
        ],
    )  # fmt: skip
