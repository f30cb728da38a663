"""How a training goes, on a terminal: its last numbers, losses by source, and the answers at every evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.cli.output import grid, pairs, shown

if TYPE_CHECKING:
    from rich.console import Console

ANSWER = 80
"""Longest part of an answer in a table."""


def tell_progress(found: Mapping[str, Any], console: Console) -> None:
    """Print what ``run.so_far`` found."""
    from rich.text import Text

    noise = found["noise_scale"]
    numbers = {
        "update": f"{found['step']:,}" + (f" of {found['steps']:,}" if found["steps"] else ""),
        "loss of the last updates": found["loss"],
        **{f"held-out {name}": value for name, value in found["validation"].items()},
        "gradient norm": found["norm"],
        "size of an update": found["update_ratio"],
        "gradient noise scale": _noise(noise),
        "energy": "not told by this machine" if found["energy_joules"] is None else energy(found["energy_joules"]),
        "processor seconds": found["cpu_seconds"],
    }
    console.print(pairs(numbers))
    if noise is not None:
        console.print(Text(f"\n{noise['means']}"))
    if found["by_source"]:
        console.print("\n[bold]Training loss by source[/]")
        rows = [(name, shown(one["loss"]), shown(int(one["units"]))) for name, one in found["by_source"].items()]
        console.print(grid(("source", "loss of the last updates", "units so far"), rows))
    _samples(found["samples"], console)


def energy(joules: float) -> str:
    """``0.012 kWh``."""
    return f"{joules / 3.6e6:.3g} kWh"


def _noise(noise: Mapping[str, Any] | None) -> str:
    if noise is None:
        return "not measured: it takes several micro-batches an update, and some updates"
    edges = " to ".join(
        "more than was measured" if noise[edge] is None else shown(noise[edge]) for edge in ("low", "high")
    )
    value = "beyond measure" if noise["value"] is None else shown(noise["value"])
    return f"{value} rows [{edges}]; an update has {shown(noise['batch'])}"


def _samples(samples: Sequence[Mapping[str, Any]], console: Console) -> None:
    if not samples:
        return
    for number, prompt in enumerate(samples[0]["answers"]):
        rows = [("wanted", _short(prompt["reference"]))] if prompt["reference"] else []
        rows += [(f"update {one['step']:,}", _short(one["answers"][number]["answer"])) for one in samples]
        console.print()
        console.print(_short(prompt["prompt"], 200), style="bold", markup=False)
        console.print(grid(("", "answer"), rows))


def _short(text: str, limit: int = ANSWER) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[:limit] + "…"
