"""What both sides train where only the upper half is adapted: the model of ``material``, some of its rows, and its
adapter without the lower layers' part.

    python -m sidebyside.top FOLDER [ALPACA_FILE]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sidebyside.material import make

LAYERS = (4, 5, 6, 7)
"""The adapted layers, of eight."""
ROWS = 240
"""One epoch: fifteen updates of sixteen rows."""


def keep_top(folder: Path) -> None:
    """Cut ``adapter/`` and ``rows.jsonl`` of ``folder`` down."""
    from safetensors.torch import load_file, save_file

    adapter = folder / "adapter"
    tensors = load_file(adapter / "adapter_model.safetensors")
    kept = {name: value for name, value in tensors.items() if any(f"layers.{layer}." in name for layer in LAYERS)}
    save_file(kept, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    config = json.loads((adapter / "adapter_config.json").read_text())
    config |= {"layers_to_transform": list(LAYERS), "layers_pattern": "layers"}
    (adapter / "adapter_config.json").write_text(json.dumps(config, indent=2))
    rows = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "rows.jsonl").write_text("".join(rows[:ROWS]), encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    keep_top(Path(sys.argv[1]))
