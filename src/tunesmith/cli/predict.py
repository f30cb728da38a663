"""``tunesmith predict``: labels, numbers, answers or vectors for texts, from a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tunesmith.cli.output import emit, grid, json_option, shown, stdout
from tunesmith.errors import UserError

SHOWN = 4
"""Numbers of a vector that fit on a line; ``--json`` has them all."""


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--pair", help="A second text beside TEXT: the context of a question, the hypothesis of a premise.")
@click.option("--file", "file", help="A file of texts: lines of a txt file, or rows with the columns text and pair.")
@json_option
def predict(run_folder: str, texts: tuple[str, ...], pair: str | None, file: str | None, as_json: bool) -> None:
    """Say what the model of RUN, trained by classify, regress, multi, tokens, span or embed, makes of each TEXT."""
    from tunesmith.run.predict import Asked, asked_of, texts_of
    from tunesmith.run.predict import predict as ask

    asked: list[Asked] = [text if pair is None else (text, pair) for text in texts]
    asked += asked_of(file) if file else []
    if not asked:
        raise UserError("there is no text to predict", hint="Name texts, or a file with --file.", code="no-text")
    found = ask(run_folder, asked)
    if as_json:
        emit({"predictions": found})
        return
    records = map(texts_of, asked)
    rows = [(*_words(result), _short(one.text, one.pair)) for one, result in zip(records, found, strict=True)]
    stdout().print(grid(("prediction", "", "text"), rows))


def _words(result: Mapping[str, Any]) -> tuple[str, str]:
    """What is said, and how sure that is."""
    if "tasks" in result:
        each = {name: _words(own) for name, own in result["tasks"].items()}
        told = (f"{name}: {said}" + (f" ({sure})" if sure else "") for name, (said, sure) in each.items())
        return "; ".join(told), ""
    if "label" in result:
        return str(result["label"]), f"{result['probability']:.0%}"
    if "labels" in result:
        sure = result["probabilities"]
        return ", ".join(result["labels"]) or "(none)", ", ".join(f"{sure[name]:.0%}" for name in result["labels"])
    if "value" in result:
        return shown(result["value"]), ""
    if "vector" in result:
        first = ", ".join(f"{number:.3f}" for number in result["vector"][:SHOWN])
        return f"[{first}, …]", f"{len(result['vector'])} numbers"
    if "words" in result:
        return " ".join(f"{one['word']}/{one['label']}" for one in result["words"]), ""
    return result["answer"] or "(no answer)", shown(result["score"])


def _short(*parts: str | None) -> str:
    text = " | ".join(part for part in parts if part is not None)
    return text if len(text) <= 80 else f"{text[:79]}…"
