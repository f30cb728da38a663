"""``tunesmith methods``, ``objectives``, ``addons``, ``rewards``, ``metrics``: what the tables hold."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import click

from tunesmith.cli.output import emit, grid, json_option, pairs, say, stdout

TABLES = {
    "method": "tunesmith.methods:TABLE",
    "objective": "tunesmith.objectives:TABLE",
    "addon": "tunesmith.addons:TABLE",
    "reward": "tunesmith.rewards:TABLE",
    "metric": "tunesmith.metrics:TABLE",
    "curate-step": "tunesmith.data.curate:TABLE",
    "format": "tunesmith.data.formats:FORMATS",
    "builder": "tunesmith.making.building:TABLE",
    "maker": "tunesmith.making:TABLE",
}

COMMANDS = {"curate-step": "data steps"}
"""Kinds whose command is not their plural."""


@dataclass(frozen=True)
class Described:
    """One part: its first sentence, whole text, paper ("" where there is none) and options."""

    name: str
    summary: str
    text: str
    paper: str
    options: list[dict[str, Any]]
    use: str = ""
    usual_rate: float | None = None


def classes(kind: str) -> dict[str, Any]:
    """Name -> object behind it, for one kind of part."""
    module, _, attribute = TABLES[kind].partition(":")
    table = getattr(import_module(module), attribute)
    return {name: table.load(name) for name in table}


def described(kind: str) -> list[Described]:
    """Every part of one kind, described by its docstrings."""
    return [_describe(name, part) for name, part in classes(kind).items()]


def _describe(name: str, part: Any) -> Described:
    if not inspect.isclass(part):  # a data format is a value: its options are the columns it reads
        columns = [{"name": column, "help": meaning} for column, meaning in part.columns.items()]
        return Described(name, part.summary, part.summary, "", columns)
    from tunesmith.recipe.reference import options

    config: Any = part
    text = inspect.getdoc(part) or ""
    fields = [
        {"name": option.path, "allowed": option.allowed, "default": option.default, "help": option.help}
        for option in options(config)
    ]
    return Described(
        name,
        " ".join(text.split("\n\n")[0].split()),
        text,
        getattr(part, "paper", ""),
        fields,
        getattr(part, "use", ""),
        getattr(part, "usual_rate", None),
    )


def _show(kind: str, name: str | None, as_json: bool) -> None:
    found = described(kind)
    if name is not None:
        _known(kind, name)
        found = [part for part in found if part.name == name]
    if as_json:
        emit([{key: value for key, value in asdict(part).items() if key != "text"} for part in found])
    elif name is None:
        stdout().print(grid((kind, "what it is", "paper"), [(part.name, part.summary, part.paper) for part in found]))
        say(f"`tunesmith {COMMANDS.get(kind, f'{kind}s')} NAME` shows the options of one.")
    else:
        _show_one(found[0])


def show_steps(name: str | None, as_json: bool) -> None:
    """The steps of curation, or the options of one."""
    _show("curate-step", name, as_json)


MEASURED_BY = {
    "class": "classify",
    "classes": "classify (several labels a text)",
    "number": "regress",
    "tokens": "tokens",
    "span": "span",
    "embedding": "embed",
}
"""Objectives by the problem of their task head."""


def _of_task_head(name: str, as_json: bool) -> None:
    """What is measured of models with a task head, and by which objectives."""
    from tunesmith.evaluation.labels import ENTITIES, NAMES

    found = [MEASURED_BY[problem] for problem, names in NAMES.items() if name in names]
    found += [MEASURED_BY["tokens"]] if name in ENTITIES else []
    summary = (
        f"{name} is measured of models with a task head, by the objectives {', '.join(found)}: on held-out rows, and "
        "in suites of such models under this name"
    )
    if as_json:
        emit([{"name": name, "summary": summary, "measured_by": found}])
        return
    stdout().print(f"{summary}.", markup=False)
    if name == "accuracy":
        say("Of language models: `acc` for multiple choice, `exact_match` for answers.")


def _known(kind: str, name: str) -> None:
    module, _, attribute = TABLES[kind].partition(":")
    getattr(import_module(module), attribute).load(name)


def _show_one(part: Described) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console = stdout()
    console.print(part.text, markup=False)
    if part.use:
        console.print(f"\nUse it for: {part.use}", markup=False)
    if part.usual_rate is not None:
        console.print(f"Learning rate to begin with: {part.usual_rate:g}", markup=False)
    if part.paper:
        console.print(f"Paper: {part.paper}", markup=False)
    if part.options:
        console.print("\nOptions:" if "allowed" in part.options[0] else "\nColumns:")
    for option in part.options:
        console.print(f"  {_heading(option)}", markup=False, soft_wrap=True)
        console.print(Padding(Text(option["help"]), (0, 0, 0, 6), expand=False))


def _heading(option: Mapping[str, Any]) -> str:
    """``rank  (a whole number > 0; default 16)``; a column of a format has its name only."""
    if "allowed" not in option:
        return str(option["name"])
    default = "required" if option["default"] is None else f"default {option['default']}"
    return f"{option['name']}  ({option['allowed']}; {default})"


@click.command()
@click.argument("name", required=False)
@click.argument("options", nargs=-1, metavar="[OPTION=VALUE]...")
@click.option("--model", help="Count what NAME trains of this base: `embedded`, a folder or a hub id.")
@click.option("--quantize", default="none", show_default=True, help="Weight format of that base.")
@json_option
def methods(name: str | None, options: tuple[str, ...], model: str | None, quantize: str, as_json: bool) -> None:
    """List the ways parameters can be trained, or show one: its options, and with --model what it costs.

    `tunesmith methods lora rank=64 --model embedded`
    """
    if name is None or model is None:
        _show("method", name, as_json)
        return
    from tunesmith.recipe.overrides import apply_overrides
    from tunesmith.recipe.schema import Part

    part = Part.model_validate(apply_overrides({"name": name}, options, {}))
    from tunesmith.run.sizing import sizes

    found = sizes(part, model, quantize=quantize)
    if as_json:
        emit({**asdict(found), "share": found.share, "method": part.model_dump(), "model": model})
        return
    lines = {
        "trained parameters": f"{found.trained:,} of {found.whole:,} ({found.share:.3%})",
        "base in memory": _size(found.base_bytes),
        "training adds": f"{_size(found.training_bytes)} (weights, gradients and Adam; activations come on top)",
    }
    stdout().print(pairs(lines))


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.2f} MiB"


@click.command()
@click.argument("name", required=False)
@json_option
def objectives(name: str | None, as_json: bool) -> None:
    """List what can be minimised, or show the options of one."""
    _show("objective", name, as_json)


@click.command()
@click.argument("name", required=False)
@json_option
def addons(name: str | None, as_json: bool) -> None:
    """List what can stand beside an objective, or show the options of one."""
    _show("addon", name, as_json)


@click.command()
@click.argument("name", required=False)
@json_option
def rewards(name: str | None, as_json: bool) -> None:
    """List what answers can be rewarded for, or show the options of one."""
    _show("reward", name, as_json)


@click.command()
@click.argument("name", required=False)
@json_option
def metrics(name: str | None, as_json: bool) -> None:
    """List what suites can measure answers by, or show the options of one."""
    if name is not None:
        from tunesmith.evaluation.labels import KNOWN
        from tunesmith.metrics import TABLE

        if name in KNOWN and name not in TABLE:
            _of_task_head(name, as_json)
            return
    _show("metric", name, as_json)
