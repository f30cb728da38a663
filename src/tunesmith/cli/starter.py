"""A first recipe for a data file: look at its rows, choose what follows from them, leave the rest as comments."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.cli.first_look import COMPARED, look
from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.contracts.data import Record
    from tunesmith.data.lengths import Fitting

USUAL_OBJECTIVE = {
    "labelled": "classify",
    "tagged": "tokens",
    "spans": "tokens",
    "squad": "span",
    "embedding": "embed",
    "files": "pretrain",
    **COMPARED,
}
"""Format of rows -> the objective that usually learns from them; all others are imitated."""
MAX_LOST = 0.1
"""Share of rows that training gives up without being told to."""


@dataclass(frozen=True)
class Starter:
    """The text of a recipe and what it was derived from; ``rows`` None where they were not counted to the end."""

    text: str
    format: str
    reason: str
    rows: int | None
    objective: str
    note: str = ""
    """What the user should know before training; "" where there is nothing."""


def starter(data: str, recipe: Path, base: str, columns: Mapping[str, str], split: str | None = None) -> Starter:
    """A commented recipe, to be written to ``recipe``, that trains ``base`` on ``data`` (its ``split``)."""
    from tunesmith.recipe.commented import commented
    from tunesmith.recipe.schema import Recipe

    seen = look(data, columns, split)
    form = seen.found.format
    source: dict[str, Any] = {"path": _relative(data, recipe), "format": form.name}
    source |= {"split": split} if split else {}
    source |= {"columns": dict(columns)} if columns else {}
    objective = _objective(form.name, plain_text=set(form.columns) == {"text"})
    fitting = _fitting(seen.records, base, objective["name"])
    chosen: dict[str, Any] = {
        "name": Path(data).expanduser().resolve().stem.lstrip(".") or "run",
        "seed": 0,
        "model.base": _relative(base, recipe),
        "data.train": [source],
        "data.validation": 0.1,
        **_template(base),
        "data.max_tokens": fitting.max_tokens,
        **({"data.overlong": "cut"} if fitting.cut else {}),
        "method": {"name": "lora", "rank": 16, "alpha": 32},
        "objective": objective,
        "train.epochs": 1.0 if seen.rows is None else 3.0,
        "train.batch_size": 16,
        "train.learning_rate": 2.0e-4,
        "evaluate.before": True,
        "retention": "auto",
    }
    reasons = {"data.max_tokens": fitting.why_tokens, "data.overlong": fitting.why_cut}
    return Starter(
        text=f"# Train with: tunesmith train {recipe}\n\n{commented(Recipe, chosen, reasons)}",
        format=form.name,
        reason=seen.found.reason,
        rows=seen.rows,
        objective=objective["name"],
        note=" ".join(filter(None, (seen.note, _lost(fitting)))),
    )


def write_new(path: Path, text: str) -> None:
    """Write ``text`` to ``path``; a ``UserError`` where something is there already."""
    from tunesmith.files import write_text

    if path.exists():
        raise UserError(
            f"{path} is there already and is not overwritten",
            hint="Name another file with --out, or delete it first.",
            code="recipe-exists",
        )
    write_text(path, text)


def _fitting(records: Sequence[Record], base: str, objective: str) -> Fitting:
    """``data.max_tokens`` and ``data.overlong`` by the lengths of the rows looked at, where the base can be seen."""
    from tunesmith.data.lengths import USUAL, Base, Fitting, fit_conversations, fit_labelled
    from tunesmith.models.seedling import folder

    seen = Base.at(folder() if base == "embedded" else Path(base).expanduser())
    if seen is None:
        return Fitting(USUAL)
    if objective == "sft" and records:
        return fit_conversations(records, seen)
    if objective in ("classify", "tokens") and records:
        return fit_labelled(records, seen)
    return fit_conversations([], seen)  # long texts and contexts are taken in pieces: only the positions count


def _lost(fitting: Fitting) -> str:
    share, size = fitting.answers_lost, fitting.max_tokens
    if share <= MAX_LOST:
        return ""
    return (
        f"In {share:.0%} of the rows the answer begins beyond {size} tokens: `tunesmith train` refuses them unless "
        "data.max_lost allows it. Choose a base with more positions, or raise data.max_tokens."
    )


def _objective(form: str, *, plain_text: bool) -> dict[str, Any]:
    """What rows of a format are usually for."""
    if form in USUAL_OBJECTIVE:
        return {"name": USUAL_OBJECTIVE[form]}
    return {"name": "pretrain"} if plain_text else {"name": "sft", "train_on": "answers"}


def _template(base: str) -> dict[str, str]:
    """``plain`` for a local base without a chat template of its own; nothing where it has one or cannot be seen."""
    folder = Path(base).expanduser()
    settings = folder / "tokenizer_config.json"
    if not settings.is_file() or (folder / "chat_template.jinja").is_file():
        return {}
    return {} if json.loads(settings.read_text(encoding="utf-8")).get("chat_template") else {"data.template": "plain"}


def _relative(path: str, recipe: Path) -> str:
    """``path`` as the recipe writes it: relative to the recipe's folder where it is a local file."""
    if not Path(path).expanduser().exists():
        return path
    file = Path(path).expanduser().resolve()
    relative = os.path.relpath(file, recipe.parent.resolve())
    if relative.startswith("../.."):
        return str(file)
    return relative if "/" in relative or Path(relative).suffix else f"./{relative}"
