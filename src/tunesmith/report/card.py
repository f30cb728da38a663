"""The model card of a run: what a model hub shows beside the weights, from the facts of the report.

Markdown with the front matter that Hugging Face reads (``base_model``, ``library_name``, ``tags``). What the run does
not know (licence, who should use the model) is asked for, not invented. Data sources go by file name, not by path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith.report import words
from tunesmith.report.forms import FORMS
from tunesmith.report.run_facts import Figure, RunFacts
from tunesmith.report.sections.top import method_words, objective_words

OWNER = "<!-- for you to write: who may use it for what, under which licence, and who should not -->"


def card(facts: RunFacts) -> str:
    """The whole file."""
    recipe = facts.get("recipe.yaml") or {}
    adapter = (Path(facts.folder) / "adapter").exists()
    parts = [
        _front(recipe, adapter=adapter),
        f"# {facts.name}",
        _intended(facts, recipe),
        "## Intended use",
        OWNER,
        "## How good it is",
        *_results(facts),
        "## What it forgot, and what to mind",
        *_limits(facts),
        "## Training data",
        *_data(facts),
        "## Training",
        *_training(facts, recipe),
        "## How to use it",
        _use(adapter=adapter),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(recipe: Mapping[str, Any], *, adapter: bool) -> str:
    base = _base(recipe)
    objective, method = (str((recipe.get(part) or {}).get("name", "")) for part in ("objective", "method"))
    lines = ["---", f"library_name: {'peft' if adapter else 'transformers'}"]
    if "/" in base:  # a hub id; a folder of one's own means nothing to others
        lines.append(f"base_model: {base}")
    return "\n".join([*lines, "tags:", "- tunesmith", f"- {method}", f"- {objective}", "---"])


def _base(recipe: Mapping[str, Any]) -> str:
    """The base's hub id, or the name of its folder."""
    base = str((recipe.get("model") or {}).get("base", ""))
    return Path(base).name if Path(base).is_absolute() or base.startswith((".", "~")) else base


def _intended(facts: RunFacts, recipe: Mapping[str, Any]) -> str:
    method, objective = method_words(recipe.get("method") or {}), objective_words(recipe.get("objective") or {})
    first = f"`{_base(recipe)}` tuned with {method} by {objective}."
    said = " ".join(str(sentence.striptags()) for sentence in words.verdict(facts))
    return f"{first} {said}"


def _results(facts: RunFacts) -> Iterator[str]:
    found = facts.figures("answers", "task")
    if not found:
        yield "No rows were held out, so nothing is known."
        return
    yield "On rows kept out of training, the same ones before and after; intervals are 95%."
    yield _table(found)
    gate = facts.get("report.json", "gate")
    if gate:
        lines = [f"- {'met' if one['passed'] else 'missed'}: {one['name']} {one['needed']}" for one in gate["lines"]]
        yield f"Release gate: **{'SHIP' if gate['ship'] else 'DO NOT SHIP'}**\n\n" + "\n".join(lines)


def _table(found: list[Figure]) -> str:
    rows = ["| figure | before | after | change [95% interval] | rows |", "|---|---|---|---|---|"]
    for figure in found:
        form, change = words.form_of(figure.name), words.change_form(figure.name)
        cells = [
            words.name_of(figure.name),
            _said(figure.found.get("before"), form),
            _said(figure.found["after"], form),
        ]
        cells += [_change(figure.found.get("change"), change), str(figure.found["after"]["n"])]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _said(estimate: Mapping[str, Any] | None, form: str) -> str:
    return "–" if estimate is None else FORMS[form](estimate["value"])


def _change(estimate: Mapping[str, Any] | None, form: str) -> str:
    if estimate is None:
        return ""
    low, high = (FORMS[form](estimate[key]) if estimate[key] is not None else "?" for key in ("low", "high"))
    unit = " points" if form == "points" else ""
    return f"{FORMS[form](estimate['value'])}{unit} [{low}, {high}]"


def _limits(facts: RunFacts) -> Iterator[str]:
    found = facts.figures("retention")
    if found:
        yield "On text that shows what the base knew:"
        yield _table(found)
    findings = facts.get("diagnosis.json", "findings") or []
    if findings:
        yield "\n".join(f"- **{one['name'].replace('-', ' ')}**: {one['what']}" for one in findings)
    if not found and not findings:
        yield "Nothing was measured about it."


def _data(facts: RunFacts) -> Iterator[str]:
    ledger = facts.get("ledger.json")
    if not ledger:
        yield "Not recorded."
        return
    lines = [
        f"- `{Path(str(one['path'])).name}`: {one['kept']:,} of {one['rows']:,} rows ({one['format']})"
        for one in ledger["sources"]
    ]
    yield "\n".join(lines)
    counts = {
        side: (ledger["sequences"].get(side, 0), ledger["tokens"].get(side, 0)) for side in ("train", "validation")
    }
    (rows, tokens), (held, _) = counts["train"], counts["validation"]
    yield f"{rows:,} sequences with {tokens:,} tokens were trained on, {held:,} sequences were held out."


def _training(facts: RunFacts, recipe: Mapping[str, Any]) -> Iterator[str]:
    train, report = recipe.get("train") or {}, facts.get("report.json") or {}
    environment = facts.get("environment.json") or {}
    told = {
        "method": ", ".join(f"{key}: {value}" for key, value in (recipe.get("method") or {}).items()),
        "objective": ", ".join(f"{key}: {value}" for key, value in (recipe.get("objective") or {}).items()),
        "updates": FORMS["plain"](report.get("steps", 0)),
        "learning rate": f"{train.get('learning_rate')}, {train.get('schedule')}",
        "batch size": train.get("batch_size"),
        "precision": (recipe.get("model") or {}).get("dtype"),
        "seed": recipe.get("seed"),
        "time in updates": FORMS["seconds"](report.get("seconds", 0.0)),
        "hardware": ", ".join(environment.get("devices") or [str(environment.get("processor", ""))]),
        "versions": ", ".join(f"{name} {version}" for name, version in (environment.get("packages") or {}).items()),
    }
    yield "\n".join(f"- {name}: {value}" for name, value in told.items() if value not in (None, ""))
    proofs = facts.get("proof.json", "proofs") or []
    held = sum(proof["passed"] is True for proof in proofs)
    if proofs:
        yield f"{held} of {len(proofs)} proofs that exactly this was trained held before the first update."


def _use(*, adapter: bool) -> str:
    kind = "PeftModel.from_pretrained(base, folder)" if adapter else "AutoModelForCausalLM.from_pretrained(folder)"
    return f"`tunesmith chat RUN`, or in Python `{kind}`."
