"""Running the proofs: in order, within a budget of time, and only once for the same content where they are slow."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path

from tunesmith.events import Event, Sink, silent
from tunesmith.files import write_json
from tunesmith.proof import TABLE
from tunesmith.proof.base import Case, Outcome, Proof
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

    Those that would go beyond ``budget_seconds`` (None: no limit) are left out: their ``passed`` is None, and a note
    names them. ``cache`` is a folder for what slow proofs found, whatever ends the proofs after them. Afterwards the
    case is, bit for bit, what it was. A ``UserError`` inside a proof goes to the user, any other exception is a bug.
    """
    store = None if cache is None else _Store(case, cache)
    known = store.read() if store else {}
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="tunesmith-proof-") as scratch:
        try:
            case = replace(case, scratch=Path(scratch))
            for outcome in _outcomes(case, names or list(TABLE.all), known, budget_seconds, emit):
                outcomes.append(outcome)  # noqa: PERF402 - what was found before an interrupt is kept as well
        finally:
            if store:
                store.add(known, outcomes)
    return outcomes


def _outcomes(
    case: Case, names: Sequence[str], known: Mapping[str, Outcome], budget: float | None, emit: Sink
) -> Iterator[Outcome]:
    skipped: list[str] = []
    beside: list[str] = []
    started, rate = time.perf_counter(), 0.0
    for name in names:
        proof: Proof = TABLE.load(name)
        if not proof.applies(case):
            beside.append(name)
            continue
        if proof.passes and not case.windows:
            continue  # rows without any target fail the proof `targets`; nothing else can be measured on them
        if name in known and not proof.of_rows:
            yield known[name]
            continue
        expected = time.perf_counter() - started + rate * proof.passes
        if budget is not None and expected > budget:
            skipped.append(name)
            yield Outcome(name, None, None, None, f"not proven within {budget:.0f} s; `tunesmith check` takes its time")
            continue
        emit(Event("phase", 0, {"text": f"proof: {name}"}))
        outcome = run(name, proof, case)
        rate = max(rate, outcome.seconds / proof.passes) if proof.passes else rate
        yield outcome
    if beside:
        emit(Event("note", 0, {"text": f"proofs that do not apply here: {', '.join(beside)}"}))
    if skipped:
        emit(Event("note", 0, {"text": f"not proven within {budget:.0f} s: {', '.join(skipped)}"}))


def run(name: str, proof: Proof, case: Case) -> Outcome:
    """One proof, leaving no trace."""
    started = time.perf_counter()
    with untouched(case):
        measured = proof.measure(case)
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


class _Store:
    """What slow proofs found for the content of a case; the content is looked at only where something may be stored."""

    def __init__(self, case: Case, folder: Path) -> None:
        self._case = case
        self._folder = folder

    @cached_property
    def file(self) -> Path:
        """The file of this content."""
        return self._folder / f"{content_key(self._case)}.json"

    def read(self) -> dict[str, Outcome]:
        """What was proven before and was slow; a file that cannot be read is one that does not exist."""
        if not any(self._folder.glob("*.json")) or not self.file.is_file():
            return {}
        try:
            stored = json.loads(self.file.read_text(encoding="utf-8"))
            return {name: Outcome(**{**values, "cached": True}) for name, values in stored.items()}
        except (ValueError, TypeError, AttributeError):
            return {}

    def add(self, known: Mapping[str, Outcome], outcomes: Sequence[Outcome]) -> None:
        """Keep the slow ones of ``outcomes`` that passed, besides those that were ``known``."""
        slow = {one.name: one for one in outcomes if one.passed and one.seconds >= QUICK_SECONDS}
        if slow.keys() - known.keys():
            write_json(self.file, {name: outcome.as_dict() for name, outcome in {**known, **slow}.items()})
