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
import string
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.models import seedling
from tunesmith.models.seedling import blueprint, corpus
from tunesmith.models.seedling.texts import words

RECIPE = Path(__file__).with_name("seedling.yaml")
DOCS = Path(__file__).parents[1] / "docs" / "design" / "0003-seedling.md"
LOG = DOCS.with_name("seedling-growth.jsonl")
VALIDATION_SEED = 1_000_000
WATCHED = 700
TABLE_BEGINS, TABLE_ENDS = "<!-- perplexity: written by scripts/grow_seedling.py -->", "<!-- end of perplexity -->"
README = """# Seedling

The embedded base model of Tunesmith: a Llama of 5.2 million parameters that writes plain text about a small invented
world and has never seen a conversation. Grown by `scripts/grow_seedling.py` from seeds alone; `CHECKSUMS` has the
sha256 of every file.

Held-out perplexity per token:
"""


def main() -> None:
    """Parse the command line and run the steps it asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the corpus, the run and the report are written")
    parser.add_argument("--prepare", action="store_true", help="stop before training")
    parser.add_argument(
        "--report", type=Path, metavar="MODEL", help="only report on this trained model folder, and ship it"
    )
    parser.add_argument("--megabytes", type=float, default=62.0, help="size of the training text (default 62)")
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
    corpus.write_corpus(
        folder / "valid.jsonl", seed=seed + VALIDATION_SEED, megabytes=1.0, held_out=True, opening=blueprint.END
    )
    unlike = frozenset(row["text"] for row in rows(folder / "valid.jsonl"))
    written = corpus.write_corpus(
        folder / "train.jsonl", seed=seed, megabytes=megabytes, opening=blueprint.END, unlike=unlike
    )
    wrote = time.perf_counter() - started
    say(f"corpus: {sum(written.values()) / 1e6:.1f} MB in {wrote:.0f} s")
    data = rows(folder / "train.jsonl")
    started = time.perf_counter()
    # Few texts about words, but the words themselves: a reversed word must stay in small pieces, or it is learned by
    # heart.
    texts = [
        row["text"].removeprefix(blueprint.END)
        for index, row in enumerate(data)
        if row["kind"] != "words" or index % 4 == 0
    ]
    units = [f'"{word}"' for word in words.vocabulary()] * 40 + [words.spelled(string.ascii_lowercase)] * 1000
    tokenizer = blueprint.train_tokenizer([*texts[:: max(1, len(texts) // 60_000)], *units])
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
        f"data.validation=[{{path: {watched(folder)}}}]",
    ]
    ts.train(ts.Recipe.load(RECIPE, overrides=[*paths, *overrides]), out=run, resume=run.exists())
    return run / "model"


def watched(folder: Path) -> Path:
    """The first held-out rows, which choose the best checkpoint; the report measures all of them."""
    path = folder / "valid-small.jsonl"
    lines = (folder / "valid.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:WATCHED]), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Row:
    """Held-out perplexity of one kind of text."""

    kind: str
    tokens: int
    unigram: float
    random: float
    trained: float


def report(folder: Path, model: Path) -> list[Row]:
    """Held-out perplexity per token and kind: a unigram model of the training text, random weights, and the model."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    data = rows(folder / "valid.jsonl")
    ids = [[*encoded, tokenizer.eos_token_id] for encoded in tokenizer([row["text"] for row in data])["input_ids"]]
    counts: Counter[int] = Counter()
    for row in rows(folder / "train.jsonl")[::10]:
        counts.update([*tokenizer(row["text"])["input_ids"][1:], tokenizer.eos_token_id])
    total = sum(counts.values()) + blueprint.VOCABULARY
    unigram = [sum(-math.log((counts[token] + 1) / total) for token in document[1:]) for document in ids]
    sums = [unigram, losses(folder / "base", ids), losses(model, ids)]
    table = []
    for kind in (*corpus.KINDS, "all"):
        chosen = [index for index, row in enumerate(data) if kind in (row["kind"], "all")]
        tokens = sum(len(ids[index]) - 1 for index in chosen)
        table.append(Row(kind, tokens, *(math.exp(sum(part[index] for index in chosen) / tokens) for part in sums)))
    return table


def losses(model: Path, ids: list[list[int]]) -> list[float]:
    """Summed negative log-likelihood (nats) of every token but the first, for each document."""
    import torch
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    found = [0.0] * len(ids)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    for start in range(0, len(order), 32):
        part = order[start : start + 32]
        longest = max(len(ids[index]) for index in part)
        padded = torch.tensor([ids[index] + [0] * (longest - len(ids[index])) for index in part])
        with torch.no_grad():
            logits = network(input_ids=padded).logits[:, :-1].log_softmax(-1)
        picked = -logits.gather(-1, padded[:, 1:, None]).squeeze(-1)
        for line, index in enumerate(part):
            found[index] = float(picked[line, : len(ids[index]) - 1].double().sum())
    return found


def ship(folder: Path, model: Path, table: list[Row]) -> None:
    """Write the bf16 model with its tokenizer, README and CHECKSUMS into the package, and the table into the docs."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    target = seedling.folder()
    shutil.rmtree(target, ignore_errors=True)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    network.generation_config = GenerationConfig.from_pretrained(folder / "base")
    network.save_pretrained(target)
    AutoTokenizer.from_pretrained(folder / "base").save_pretrained(target)
    text = "| kind | tokens | unigram | random weights | Seedling |\n|---|---:|---:|---:|---:|\n"
    text += "".join(
        f"| {r.kind} | {r.tokens:,} | {r.unigram:.0f} | {r.random:.0f} | {r.trained:.2f} |\n" for r in table
    )
    (target / "README.md").write_text(f"{README}\n{text}")
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(target.iterdir())}
    (target / "CHECKSUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    events = model.parent / "events.jsonl"
    if events.exists():
        LOG.write_text("".join(thinned(events.read_text(encoding="utf-8").splitlines(keepends=True))))
    before, _, rest = DOCS.read_text().partition(TABLE_BEGINS)
    after = rest.partition(TABLE_ENDS)[2]
    DOCS.write_text(f"{before}{TABLE_BEGINS}\n{text}{TABLE_ENDS}{after}")
    say(text)


def thinned(lines: list[str]) -> list[str]:
    """The numbers of the growth's log, every tenth step."""
    numbers = {"start", "evaluation", "end"}
    events = [(json.loads(line), line) for line in lines]
    return [
        line
        for event, line in events
        if event["kind"] in numbers or (event["kind"] == "step" and event["step"] % 10 == 0)
    ]


if __name__ == "__main__":
    main()
