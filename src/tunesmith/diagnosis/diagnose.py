"""All rules on one run: what goes into ``diagnosis.json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tunesmith.diagnosis import RULES
from tunesmith.diagnosis.history import Finding, History

GRAVITY = ("bad", "warn", "note")
IMPLIED = {
    "rate-too-high": ("loss-spikes", "underfitting", "suspect-labels", "rate-too-low"),
    "rate-too-low": ("underfitting", "suspect-labels"),
    "order-effects": ("rate-too-high", "loss-spikes"),
}
"""An ailment -> others that it brings about and that would only distract from it."""


def findings(history: History) -> list[Finding]:
    """What was found, the gravest first, without what another finding already explains."""
    found = [finding for name in RULES.entries if (finding := RULES.load(name)(history)) is not None]
    explained = {name for finding in found for name in IMPLIED.get(finding.name, ())}
    return sorted(
        (finding for finding in found if finding.name not in explained),
        key=lambda finding: GRAVITY.index(finding.severity),
    )


def diagnose(history: History) -> dict[str, Any]:
    """``{healthy, findings: [{name, severity, what, advice, evidence: [{text, source}]}], looked_for}``."""
    found = findings(history)
    told = [{**asdict(finding), "evidence": [asdict(one) for one in finding.evidence]} for finding in found]
    healthy = all(finding.severity == "note" for finding in found)
    return {"healthy": healthy, "findings": told, "looked_for": list(RULES.entries)}
