"""Grow Seedling, the embedded base model, from nothing but seeds.

    python scripts/grow_seedling.py --prepare DIR     corpus, tokenizer and a random model, ready to train
    python scripts/grow_seedling.py DIR               all of it: prepare, train (resumable), report, ship

The corpus is written by `tunesmith.models.seedling`, the training is this project's own (`seedling.yaml`, objective
`pretrain`), and the report compares held-out perplexity per kind of text with a unigram model and with random weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tunesmith.models import seedling
from tunesmith.models.seedling import blueprint, corpus
from tunesmith.models.seedling.texts import words

RECIPE = Path(__file__).with_name("seedling.yaml")
DOCS = Path(__file__).parents[1] / "docs" / "design" / "0003-seedling.md"
VALIDATION_SEED = 1_000_000


def main() -> None:
    """Parse the command line and run the steps it asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the corpus, the run and the report are written")
    parser.add_argument("--prepare", action="store_true", help="stop before training")
    parser.add_argument("--report", type=Path, metavar="MODEL", help="only report on this trained model folder, and ship it")
    parser.add_argument("--megabytes", type=float, default=70.0, help="size of the training text (default 70)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*", help="recipe overrides, such as train.learning_rate=1e-3")
    options = parser.parse_args()
    prepared = options.folder / "prepared.json"
    if not prepared.exists():
        prepare(options.folder, seed=options.seed, megabytes=options.megabytes)
    if options.prepare:
        return
    model = options.report or train(options.folder, options.overrides)
    table = report(options.folder, model)
    ship(options.folder, model, table)


def prepare(folder: Path, *, seed: int, megabytes: float) -> None:
    """Write `train.jsonl`, `valid.jsonl`, `base/` and `prepared.json` (counts and times)."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    corpus.write_corpus(folder / "valid.jsonl", seed=seed + VALIDATION_SEED, megabytes=1.0, held_out=True)
    unlike = frozenset(row["text"] for row in rows(folder / "valid.jsonl"))
    written = corpus.write_corpus(folder / "train.jsonl", seed=seed, megabytes=megabytes, unlike=unlike)
    wrote = time.perf_counter() - started
    say(f"corpus: {sum(written.values()) / 1e6:.1f} MB in {wrote:.0f} s")
    data = rows(folder / "train.jsonl")
    started = time.perf_counter()
    # Few texts about words, but the words themselves: a reversed word must stay in small pieces, or it is learned by heart.
    texts = [row["text"] for index, row in enumerate(data) if row["kind"] != "words" or index % 20 == 0]
    quoted = [f'"{word}"' for word in words.vocabulary()] * 100
    tokenizer = blueprint.train_tokenizer([*texts[:: max(1, len(texts) // 60_000)], *quoted])
    say(f"tokenizer: {len(tokenizer)} tokens in {time.perf_counter() - started:.0f} s")
    parameters = blueprint.write_base(folder / "base", tokenizer, seed=seed)
    tokens = count_tokens(folder / "train.jsonl", tokenizer)
    facts = {
        "seed": seed,
        "characters": written,
        "tokens": tokens,
        "parameters": parameters,
        "seconds": round(wrote, 1),
    }
    (folder / "prepared.json").write_text(json.dumps(facts, indent=2) + "\n")
    say(f"prepared: {sum(tokens.values()) / 1e6:.2f}M tokens, {parameters / 1e6:.2f}M parameters, in {folder}")


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a jsonl file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def say(words: str) -> None:
    """One line to standard error."""
    sys.stderr.write(words + "\n")


def count_tokens(path: Path, tokenizer: Any) -> dict[str, int]:
    """Tokens of each kind of text, one `<|end|>` a document included."""
    counts: Counter[str] = Counter()
    data = rows(path)
    for start in range(0, len(data), 5000):
        part = data[start : start + 5000]
        encoded = tokenizer([row["text"] for row in part])["input_ids"]
        for row, ids in zip(part, encoded, strict=True):
            counts[row["kind"]] += len(ids) + 1
    return dict(counts)


def train(folder: Path, overrides: list[str]) -> Path:
    """Train `base/` by the committed recipe, going on where a stopped run left off; returns the model folder."""
    import tunesmith as ts

    run = folder / "run"
    paths = [
        f"model.base={folder / 'base'}",
        f"data.train=[{{path: {folder / 'train.jsonl'}}}]",
        f"data.validation=[{{path: {folder / 'valid.jsonl'}}}]",
    ]
    ts.train(ts.Recipe.load(RECIPE, overrides=[*paths, *overrides]), out=run, resume=run.exists())
    return run / "model"


if __name__ == "__main__":
    main()
