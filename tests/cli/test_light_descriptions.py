"""What objectives, add-ons, rewards, formats and metrics are is told within a second: torch is not loaded for it."""

from __future__ import annotations

import subprocess
import sys

KINDS = ("objective", "addon", "reward", "format")
SCRIPT = f"""
import sys
from tunesmith.cli.parts import described
for kind in {KINDS}:
    assert described(kind), kind
    assert "torch" not in sys.modules, f"{{kind}} loads torch"
    assert "transformers" not in sys.modules, f"{{kind}} loads transformers"
"""


def test_descriptions_load_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
