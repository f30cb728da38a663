"""What a user waits for before the first update, and what loading takes: one measurement a process.

python -m sidebyside.start first-step FOLDER STARTED | make-store FOLDER | store FOLDER | make-base FOLDER
                         | load FOLDER KIND streamed|dense
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from sidebyside.child import peak_memory
from sidebyside.material import Size, make_model, write_rows

ROWS = 1_000_000
PARTS = 100
"""The store is one part of ``ROWS / PARTS`` sequences, again and again."""
LARGE = Size(1024, 2816, 24, 16, 8, vocabulary=32_000)
"""About 310 million parameters."""
TRAINED_ROWS = 500


def first_step(folder: Path, started: float) -> dict[str, float]:
    """Seconds from ``started`` (the clock of ``time.time``) to the end of the first update of a run with every default,
    and CPU seconds of this process until then."""
    from tunesmith.cli import main  # noqa: F401 - what the command imports
    from tunesmith.events import Event
    from tunesmith.models.seedling import instruction_set
    from tunesmith.recipe import Recipe
    from tunesmith.run import train

    class SeenError(Exception):
        pass

    found: dict[str, float] = {}

    def watch(event: Event) -> None:
        if event.kind == "step":
            found.update(seconds=time.time() - started, cpu=time.process_time())
            raise SeenError

    rows = folder / "rows.jsonl"
    if not rows.is_file():
        write_rows(rows, list(instruction_set("all", seed=0, split="train", n=TRAINED_ROWS)))
        return {}
    recipe = Recipe.model_validate({"data": {"train": [{"path": str(rows)}], "workers": 1}, "model": {"threads": 1}})
    try:
        train(recipe, out=folder / f"run-{os.getpid()}", sinks=(watch,))
    except SeenError:
        return found
    raise RuntimeError("no update was made")


def make_store(folder: Path) -> dict[str, Any]:
    """Write a store of ``ROWS`` sequences of a few dozen tokens."""
    from tunesmith.contracts.data import Encoding
    from tunesmith.data.ledger import Ledger
    from tunesmith.data.store import Encoded, join_parts, part_path, write_part

    lengths = [20 + row % 41 for row in range(ROWS // PARTS)]
    encodings = [Encoding(list(range(1, length + 1)), [False] * 10 + [True] * (length - 10)) for length in lengths]
    sequences = [Encoded(one, row, 0, row, row) for row, one in enumerate(encodings)]
    part = part_path(folder, 0)
    write_part(part, sequences, ledger=Ledger([]), vocabulary=16_000)
    join_parts([part] * PARTS, folder / "store", ledger=Ledger([]))
    return {}


def open_store(folder: Path) -> dict[str, float]:
    """Seconds to open the store, and to read an update of 16 sequences from all over it."""
    from tunesmith.data.store import TokenStore

    wall, cpu = time.perf_counter(), time.process_time()
    store = TokenStore(folder / "store")
    found = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "rows": float(len(store))}
    wall = time.perf_counter()
    assert sum(len(store[row]) for row in range(0, len(store), len(store) // 16))
    return found | {"update_seconds": time.perf_counter() - wall}


def make_base(folder: Path) -> dict[str, Any]:
    """Write ``large/`` in bf16, and ``small/``, whose loading brings in all that loading needs."""
    import torch

    for name, size in (("large", LARGE), ("small", Size(64, 128, 2, 4, 2, vocabulary=320))):
        make_model(size).to(torch.bfloat16).save_pretrained(folder / name)
    return {}


def load(folder: Path, kind: str, how: str) -> dict[str, Any]:
    """Peak memory above what imports and the loading of a small base take, and bytes of the packed model."""
    import gc

    import torch

    from tunesmith.models.load import load_model
    from tunesmith.models.quantized.model import quantize_model

    torch.set_num_threads(1)

    def loaded(name: str) -> Any:
        if how == "streamed":
            return load_model(str(folder / name), pack=kind)
        model = load_model(str(folder / name))
        quantize_model(model, kind)
        return model

    loaded("small")
    gc.collect()
    floor = peak_memory()
    wall, cpu = time.perf_counter(), time.process_time()
    model = loaded("large")
    seconds, spent = time.perf_counter() - wall, time.process_time() - cpu
    held = {id(one): one.nbytes for one in (*model.parameters(), *model.buffers())}
    return {
        "result_bytes": sum(held.values()),
        "peak_bytes": peak_memory() - floor,
        "floor_bytes": floor,
        "weights": sum(parameter.numel() for parameter in model.parameters()) + packed_weights(model),
        "seconds": seconds,
        "cpu": spent,
    }


def packed_weights(model: Any) -> int:
    """Weights that stand in packed layers."""
    from tunesmith.models.quantized.linear import QuantizedLinear

    layers = [module for module in model.modules() if isinstance(module, QuantizedLinear)]
    return sum(layer.in_features * layer.out_features for layer in layers)


def main(what: str, folder: Path, *more: str) -> dict[str, Any]:
    """The measurement ``what``."""
    folder.mkdir(parents=True, exist_ok=True)
    if what == "first-step":
        return first_step(folder, float(more[0]))
    if what == "load":
        return load(folder, *more)
    return {"make-store": make_store, "store": open_store, "make-base": make_base}[what](folder)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])))
