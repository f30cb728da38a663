"""Running the proofs: in order, within a budget of time, and only once for the same content where they are slow."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.events import Event, Sink, silent
from tunesmith.files import write_json
from tunesmith.proof import TABLE
from tunesmith.proof.base import Case, Measured, Outcome, Proof
from tunesmith.proof.keep import bit_sums, untouched

QUICK_SECONDS = 3.0
"""Proofs that took less are repeated at every start."""


def prove(
    case: Case,
    *,
    names: Sequence[str] | None = None,
    budget_seconds: float | None = 60.0,
    cache: Path | None = None,
    emit: Sink = silent,
) -> list[Outcome]:
    """Run the proofs that apply to ``case`` (all, or those of ``names``) and return their outcomes in order.

    Those that would go beyond ``budget_seconds`` (None: no limit) are left out and named in a note. ``cache`` is a
    folder for what slow proofs found. Afterwards the case is, bit for bit, what it was. A ``UserError`` inside a proof
    is its failure; any other exception is a bug and is raised.
    """
    file = None if cache is None else cache / f"{content_key(case)}.json"
    known = _known(file)
    with tempfile.TemporaryDirectory(prefix="tunesmith-proof-") as scratch:
        outcomes = _outcomes(
            replace(case, scratch=Path(scratch)), names or list(TABLE.all), known, budget_seconds, emit
        )
    if file is not None:
        _remember(file, known, outcomes)
    return outcomes


def _outcomes(
    case: Case, names: Sequence[str], known: Mapping[str, Outcome], budget: float | None, emit: Sink
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    skipped: list[str] = []
    started, rate = time.perf_counter(), 0.0
    for name in names:
        proof: Proof = TABLE.load(name)
        if not proof.applies(case) or (proof.passes and not case.windows):
            continue  # rows without any target fail the proof `targets`; nothing else can be measured on them
        if name in known and not proof.of_rows:
            outcomes.append(known[name])
            continue
        expected = time.perf_counter() - started + rate * proof.passes
        if budget is not None and expected > budget:
            skipped.append(name)
            continue
        emit(Event("phase", 0, {"text": f"proof: {name}"}))
        outcome = run(name, proof, case)
        rate = max(rate, outcome.seconds / proof.passes) if proof.passes else rate
        outcomes.append(outcome)
    if skipped:
        emit(Event("note", 0, {"text": f"not proven within {budget:.0f} s: {', '.join(skipped)}"}))
    return outcomes


def run(name: str, proof: Proof, case: Case) -> Outcome:
    """One proof, leaving no trace."""
    started = time.perf_counter()
    with untouched(case):
        try:
            measured = proof.measure(case)
        except UserError as error:
            measured = Measured(False, None, None, error.sentence())
    return proof.outcome(name, measured, time.perf_counter() - started)


def content_key(case: Case) -> str:
    """Digest of everything the model's proofs depend on; values that a method draws at its start are not among it."""
    config = case.config
    added = case.weights.parameters.values() if case.attached.artifact == "adapter" else ()
    drawn = {id(parameter) for parameter in added}
    base = {name for name, parameter in case.policy.model.named_parameters() if id(parameter) not in drawn}
    parts = [
        sorted(bit_sums(case.policy.model, base).items()),
        repr(case.policy.model.config.to_dict()),
        case.encoder.fingerprint(),
        (type(case.method).__qualname__, repr(case.method), type(case.objective).__qualname__, repr(case.objective)),
        sorted((name, tuple(value.shape)) for name, value in case.weights.values.items()),
        (config.optimizer, config.betas, config.weight_decay, config.clip),
        (str(case.dtype), case.policy.driver, str(case.policy.device)),
        (_code(), version("torch"), version("transformers")),
    ]
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=1)
def _code() -> str:
    """Digest of the package's own source."""
    digest = hashlib.blake2b(digest_size=16)
    package = Path(__file__).parent.parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()


def _known(file: Path | None) -> dict[str, Outcome]:
    """What was proven before and was slow; a file that cannot be read is one that does not exist."""
    if file is None or not file.is_file():
        return {}
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return {name: Outcome(**{**values, "cached": True}) for name, values in stored.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _remember(file: Path, known: dict[str, Outcome], outcomes: Sequence[Outcome]) -> None:
    slow = {one.name: one for one in outcomes if one.passed and one.seconds >= QUICK_SECONDS}
    if slow.keys() - known.keys():
        write_json(file, {name: outcome.as_dict() for name, outcome in {**known, **slow}.items()})
