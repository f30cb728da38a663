"""``tunesmith demo``: the whole journey on the embedded model, and what to do next."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from tunesmith.cli.output import INTERRUPTED, emit, json_option, say, stdout
from tunesmith.errors import Interrupted


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; by default runs/demo.")
@json_option
def demo(out: Path | None, as_json: bool) -> int:
    """Measure the embedded model, prove the run, tune it, measure again, and compare answers. No network."""
    from tunesmith import run
    from tunesmith.cli.story import tell
    from tunesmith.cli.train import stopped
    from tunesmith.engine.sinks.live import display

    try:
        with closing(display()) as shown:
            result: dict[str, Any] = run.demo(out, sinks=(shown,))
    except Interrupted as stop:
        return stopped(stop, ["train", stop.folder] if stop.begun else ["demo"], as_json=as_json)
    if as_json:
        emit(result)
    if not result.get("finished", True):
        say(f"Stopped and saved. Go on with: tunesmith train {result['run']} --out {result['run']} --resume")
        return INTERRUPTED
    if as_json:
        return 0
    tell(result, stdout())
    say("\nNext: your own rows.")
    say("  tunesmith init YOUR-DATA.jsonl     writes a recipe for them")
    say("  tunesmith train recipe.yaml        trains, proves and measures")
    say(f"  tunesmith chat {result['run']}     talks to what was just trained")
    return 0
