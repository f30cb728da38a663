"""``tunesmith inspect``: looks inside a run's model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli.output import emit, grid, json_option, say, shown, stderr, stdout
from tunesmith.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

DIAGNOSIS, PROGRESS = "diagnosis", "progress"
Rows = Sequence[tuple[str, ...]]


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("what", required=False)
@click.option("--prompt", help="The question to look at; by default the first held-out one.")
@click.option("--answer", help="The answer (or label) to look at; by default what the tuned model says.")
@json_option
def inspect(run: Path, what: str | None, prompt: str | None, answer: str | None, as_json: bool) -> None:
    """Look inside RUN: how weights, layers, attention changed, which rows moved an answer.

    WHAT is one of weights, importance, activations, attention, lens, tokens, contributions, influence; all takes every
    look, and diagnosis (the default) says what the record of the training shows. Looks are kept in the run folder and
    stand in its report as pictures. progress shows where a training stands, also while it runs: losses by source,
    gradient noise, cost, and the answers to a few held-out prompts at every evaluation.
    """
    from tunesmith.insight import LOOKS
    from tunesmith.run.diagnosing import told_of
    from tunesmith.run.folder import Run
    from tunesmith.run.inspecting import inspect as look

    opened = Run.open(run)
    if what in (None, DIAGNOSIS):
        found = told_of(opened)
        emit(found) if as_json else tell_diagnosis(found, stdout())
        return
    if what == PROGRESS:
        from tunesmith.cli.progress import tell_progress
        from tunesmith.run.so_far import so_far

        standing = so_far(opened)
        emit(standing) if as_json else tell_progress(standing, stdout())
        return
    known = [*LOOKS, "all", DIAGNOSIS, PROGRESS]
    if what not in known:
        raise UserError(
            "unknown look", got=what, allowed=known, hint=did_you_mean(str(what), known), code="unknown-look"
        )
    results: dict[str, dict[str, Any]] = {}
    for name in LOOKS.entries if what == "all" else [str(what)]:
        with stderr().status(f"looking at {name}") as status:
            try:
                results[name] = look(opened, name, prompt=prompt, answer=answer, tell=status.update)
            except UserError as error:
                if what != "all" or error.code != "cannot-inspect":
                    raise
                results[name] = {"look": name, "refused": str(error)}
        if not as_json:
            _tell(name, results[name], stdout())
    if as_json:
        emit(results if what == "all" else results[str(what)])
    else:
        say(f"\nKept in {opened.last_stage.folder / 'insight'}; pictures: tunesmith report {run}")


def tell_diagnosis(found: Mapping[str, Any], console: Console) -> None:
    """Print what a diagnosis found: each ailment with its evidence and advice."""
    from rich.text import Text

    colours = {"bad": "red", "warn": "yellow", "note": "dim"}
    for finding in found["findings"]:
        console.print(Text(f"\n{finding['name'].replace('-', ' ')}", style=f"bold {colours[finding['severity']]}"))
        console.print(Text(f"  {finding['what']}"))
        for one in finding["evidence"]:
            console.print(Text(f"  · {one['text']}", style="dim"))
        console.print(Text(f"  → {finding['advice']}"))
    if not found["findings"]:
        looked = ", ".join(name.replace("-", " ") for name in found["looked_for"])
        console.print(Text(f"Nothing was found that speaks against this run. Looked for: {looked}."))


def _tell(name: str, found: Mapping[str, Any], console: Console) -> None:
    from rich.text import Text

    console.print(f"\n[bold]{name}[/]")
    if "refused" in found:
        console.print(Text(f"not looked at: {found['refused']}", style="dim"))
        return
    columns, rows = TABLES[name](found)
    console.print(grid(columns, list(rows)))


def _weights(found: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    columns = ("layer", "change", "effective rank", "stable rank", f"intruders of {found['top']}")
    keys = ("change", "effective_rank", "stable_rank", "intruders")
    return columns, [(layer["name"], *(shown(layer[key]) for key in keys)) for layer in found["layers"]]


def _importance(found: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    layers = sorted(found["layers"], key=lambda layer: -layer["share"])
    rows = [(one["name"], f"{one['share']:.1%}", shown(one["mean"]), shown(one["parameters"])) for one in layers]
    return ("layer", "share", "mean", "parameters"), rows


def _activations(found: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    keys = ("base_norm", "tuned_norm", "moved", "cka", "base_silent", "tuned_silent")
    rows = [(str(one["block"]), *(shown(one.get(key)) for key in keys)) for one in found["blocks"]]
    return ("block", "size before", "after", "moved", "similarity (CKA)", "silent units before", "after"), rows


def _attention(found: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    heads = range(len(found["blocks"][0]["heads"]))
    rows = [(str(one["block"]), *(f"{value:.3f}" for value in one["heads"])) for one in found["blocks"]]
    return ("bits moved: block", *(f"head {head}" for head in heads)), rows


def _lens(found: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    def side(one: Mapping[str, Any]) -> tuple[str, str]:
        return f"{one['tokens'][0]!r} {one['probabilities'][0]:.0%}", f"{one['wanted']:.1%} (place {one['rank']})"

    rows = [(str(one["block"]), *side(one["base"]), *side(one["tuned"])) for one in found["blocks"]]
    wanted = repr(found["wanted"])
    return ("block", "base says", f"base: {wanted}", "tuned says", f"tuned: {wanted}"), rows


def _tokens(found: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    rows = []
    for place, one in enumerate(found["tokens"]):
        where = "answer" if place >= found["answer_from"] else ""
        nats = (f"{one['base']:.2f}", f"{one['tuned']:.2f}", f"{one['tuned'] - one['base']:+.2f}")
        rows.append((where, repr(one["text"]), *nats))
    return ("", "token", "nats before", "after", "change"), rows


def _contributions(found: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    sides = [side for side in ("base", "tuned") if side in found["tokens"][0]]
    rows = [(repr(one["text"]), *(f"{one[side]:+.3f}" for side in sides)) for one in found["tokens"]]
    words = {"base": "before", "tuned": "after"}
    return (f"what {found['said']!r} loses without the token", *(words[side] for side in sides)), rows


def _influence(found: Mapping[str, Any]) -> tuple[tuple[str, ...], Rows]:
    rows = [
        (word, f"{one['similarity']:+.3f}", one["where"], one["text"][:100])
        for word in ("helped", "hindered")
        for one in found[word]
    ]
    return ("", "similarity", "where", "row"), rows


TABLES: dict[str, Callable[[Mapping[str, Any]], tuple[tuple[str, ...], Rows]]] = {
    "weights": _weights,
    "importance": _importance,
    "activations": _activations,
    "attention": _attention,
    "lens": _lens,
    "tokens": _tokens,
    "contributions": _contributions,
    "influence": _influence,
}
"""Look -> its table on a terminal."""
