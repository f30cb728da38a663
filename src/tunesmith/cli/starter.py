"""A first recipe for a data file: look at its rows, choose what follows from them, leave the rest as comments."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.data.recognise import Recognised

LOOK_AT = 200
"""Rows that decide the format."""
LABELLED = {"labelled": "classify", "tagged": "tokens", "squad": "span"}
"""Format of labelled rows -> the objective that learns them."""
MANY_ROWS = 10_000
"""From here on one epoch is enough for a first run."""


@dataclass(frozen=True)
class Starter:
    """The text of a recipe and what it was derived from; ``rows`` None where they were not counted to the end."""

    text: str
    format: str
    reason: str
    rows: int | None
    objective: str


def starter(data: str, recipe: Path, base: str, columns: Mapping[str, str]) -> Starter:
    """A commented recipe, to be written to ``recipe``, that trains ``base`` on ``data``."""
    from tunesmith.recipe.commented import commented
    from tunesmith.recipe.schema import Recipe

    found, rows = _look(data, columns)
    plain_text = set(found.format.columns) == {"text"}
    mapped = {"columns": dict(columns)} if columns else {}
    chosen: dict[str, Any] = {
        "name": Path(data).expanduser().resolve().stem.lstrip(".") or "run",
        "seed": 0,
        "model.base": _relative(base, recipe),
        "data.train": [{"path": _relative(data, recipe), "format": found.format.name, **mapped}],
        "data.validation": 0.1,
        **_template(base),
        "data.max_tokens": 512,
        "method": {"name": "lora", "rank": 16, "alpha": 32},
        "objective": _objective(found.format.name, plain_text=plain_text),
        "train.epochs": 1.0 if rows is None else 3.0,
        "train.batch_size": 16,
        "train.learning_rate": 2.0e-4,
        "evaluate.before": True,
        "retention": "auto",
    }
    return Starter(
        text=f"# Train with: tunesmith train {recipe}\n\n{commented(Recipe, chosen)}",
        format=found.format.name,
        reason=found.reason,
        rows=rows,
        objective=chosen["objective"]["name"],
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


def _look(data: str, columns: Mapping[str, str]) -> tuple[Recognised, int | None]:
    """The format, and how many rows there are (None: more than ``MANY_ROWS``)."""
    from tunesmith.data.formats import FORMATS
    from tunesmith.data.recognise import Recognised, check_columns, recognise, rename
    from tunesmith.data.sources import Broken, open_source

    rows = open_source(data).rows()
    sample = [row.value for row in islice(rows, LOOK_AT) if not isinstance(row.value, Broken)]
    check_columns(sample, columns, path=data)
    found = recognise([rename(row, columns) for row in sample], path=data, columns=columns)
    if len(sample) == 1 and Path(data).suffix == ".txt":
        # one document cannot be split into training and validation rows; its paragraphs can
        found = Recognised(FORMATS.load("paragraphs"), "one long text, taken a paragraph a row")
        rows, sample = open_source(data, unit="paragraphs").rows(), []
    count = len(sample) + sum(1 for _ in islice(rows, MANY_ROWS))
    return found, None if count >= MANY_ROWS else count


def _objective(form: str, *, plain_text: bool) -> dict[str, Any]:
    """What rows of a format are usually for."""
    if form in LABELLED:
        return {"name": LABELLED[form]}
    return {"name": "pretrain"} if plain_text else {"name": "sft", "train_on": "answers"}


def _template(base: str) -> dict[str, str]:
    """``plain`` for a local base without a chat template of its own; nothing where it has one or cannot be seen."""
    folder = Path(base).expanduser()
    settings = folder / "tokenizer_config.json"
    if not settings.is_file() or (folder / "chat_template.jinja").is_file():
        return {}
    return {} if "chat_template" in json.loads(settings.read_text(encoding="utf-8")) else {"data.template": "plain"}


def _relative(path: str, recipe: Path) -> str:
    """``path`` as the recipe writes it: relative to the recipe's folder where it is a local file."""
    if not Path(path).expanduser().exists():
        return path
    file = Path(path).expanduser().resolve()
    relative = os.path.relpath(file, recipe.parent.resolve())
    if relative.startswith("../.."):
        return str(file)
    return relative if "/" in relative or Path(relative).suffix else f"./{relative}"
