"""Draws the picture of the demo in the README from a real demo: ``python scripts/picture.py [demo.json]``.

Without a file it runs the demo first; ``tunesmith demo --json > demo.json`` gives one to draw again.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tunesmith.cli.story import tell

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "demo.svg"


def main() -> None:
    """Draw the result of a demo."""
    if len(sys.argv) > 1:
        result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    else:
        from tunesmith import run

        with tempfile.TemporaryDirectory() as folder:
            result = run.demo(Path(folder) / "demo")
    result["run"] = "runs/demo"
    console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print("[bold]$ tunesmith demo[/]")
    tell(result, console)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(console.export_svg(title="tunesmith demo"), encoding="utf-8")
    print(f"written: {PICTURE}")


if __name__ == "__main__":
    main()
