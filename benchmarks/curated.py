"""Do curated rows teach more than as many random ones? Real instruction rows, a small real model, paired intervals.

    python benchmarks/curated.py --rows alpaca_en_demo.json --model stories260k-hf [--seeds 3] [--epochs 4] [--json]

Rows that are too long for the model are left out first. A fifth of the others, chosen by a hash of what they say, is
held out and never curated. The rest is curated: rules, duplicates, and the ``--worst`` share by instruction-following
difficulty under the model itself. One run is trained on what is left, and for each seed one on as many rows drawn from
all that were not held out. Printed is the change of held-out loss from the random run to the curated one, paired by
row, with its 95% interval: below zero the curated rows won.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from tunesmith.recipe import Recipe
from tunesmith.recipe.schema import Part, SourceConfig

LONGEST = 512
"""Tokens of the longest sequence."""


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """``rows`` as jsonl."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def fitting(rows: list[dict[str, Any]], model: str) -> list[dict[str, Any]]:
    """Rows that the model can read whole: as many rows are then as many sequences."""
    from tunesmith.data.chat import ChatEncoder
    from tunesmith.data.formats.alpaca import read
    from tunesmith.data.formats.base import BadRow
    from tunesmith.models.load import load_tokenizer

    encoder = ChatEncoder.build(load_tokenizer(model), "plain")

    def fits(row: dict[str, Any]) -> bool:
        try:
            (encoding,) = encoder.conversation(read(row), "answers")
        except BadRow:
            return False
        return len(encoding.ids) <= LONGEST

    return [row for row in rows if fits(row)]


def parted(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows to learn from, and the fifth that is held out."""

    def held_out(row: dict[str, Any]) -> bool:
        said = json.dumps([row.get("instruction"), row.get("input")]).encode()
        return hashlib.blake2b(said, digest_size=1).digest()[0] < 52

    return [row for row in rows if not held_out(row)], [row for row in rows if held_out(row)]


def steps(model: str, worst: float) -> list[Part]:
    """What curation does."""
    named = [Part(name=name) for name in ("unicode", "quality", "exact-dedup", "near-dedup")]
    return [*named, Part(name="difficulty", model=model, worst=worst)]


def trained(folder: Path, name: str, rows: Path, held: Path, arguments: argparse.Namespace) -> Path:
    """The run on ``rows``."""
    from tunesmith.run import train

    recipe = Recipe(
        seed=0,
        model={"base": arguments.model},
        data={
            "train": [str(rows)],
            "validation": [str(held)],
            "template": "plain",
            "max_tokens": LONGEST,
            "max_lost": 1.0,
        },
        method="full",
        train={
            "epochs": arguments.epochs,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "early_stopping": None,
            "evaluate_every": 10**6,  # the last weights are judged: none are chosen by the rows that judge
        },
        evaluate={"prompts": 0, "samples": 0, "before": False},
        retention="none",
    )  # fmt: skip
    return Path(train(recipe, out=folder / name, switch_proofs_off=True).folder)


def main() -> None:
    """Curate, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--worst", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--most", type=int, help="Use only so many rows.")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    from tunesmith.run.comparing import compare
    from tunesmith.run.curate import clean

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pool, held = parted(fitting(json.loads(arguments.rows.read_text())[: arguments.most], arguments.model))
        all_rows, exam = written(folder / "pool.jsonl", pool), written(folder / "held.jsonl", held)
        chosen = folder / "curated.jsonl"
        found = clean([SourceConfig(path=str(all_rows))], steps(arguments.model, arguments.worst), out=chosen)
        count = found.ledger.total("kept")
        ours = trained(folder, "curated", chosen, exam, arguments)
        changes = []
        for seed in range(arguments.seeds):
            drawn = written(folder / f"random-{seed}.jsonl", random.Random(seed).sample(pool, count))
            other = trained(folder, f"random-{seed}", drawn, exam, arguments)
            changes.append(compare([other, ours])["differences"][str(ours)])
    result = {
        "pool": len(pool),
        "held_out": len(held),
        "curated": count,
        "steps": dict(found.steps),
        "changes": changes,
    }
    print(json.dumps(result, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
