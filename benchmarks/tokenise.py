"""Rows tokenised per second by the data path against the bare tokenizer, and the memory it takes.

    python benchmarks/tokenise.py [--rows 100000] [--pairs 3] [--processes N] [--tokenizer FOLDER] [--json]

The data path reads jsonl, renders a chat template, tokenises, marks targets, splits and writes the store, in N
processes; the bare tokenizer is given the same texts, already rendered and in memory, as ``encode_batch`` of 1,000 on N
threads. They take turns, so that another load on the machine meets both; the ratio is the median over the pairs.
Bar: ratio >= 0.7, and resident memory that does not grow with the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from tunesmith.contracts.data import Encoder, Encoding, Record

WORDS = 6000


def encode(record: Record, encoder: Encoder) -> list[Encoding]:
    """What the objective ``sft`` does."""
    return encoder.conversation(record, "answers")


def write_rows(path: Path, count: int) -> None:
    """Alpaca rows of about 110 words, from a fixed seed."""
    chance = random.Random(0)
    letters = "etaoinshrdlcumwfgypbvk"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(WORDS)]
    ranks = [1.0 / (rank + 10) for rank in range(WORDS)]
    with path.open("w") as file:
        for number in range(count):
            drawn = chance.choices(words, ranks, k=chance.randint(60, 160))
            row = {
                "instruction": f"{number}: {' '.join(drawn[:20])}?",
                "input": "",
                "output": " ".join(drawn[20:]) + ".",
            }
            file.write(json.dumps(row) + "\n")


def make_tokenizer(path: Path) -> Any:
    """A byte-level BPE of 4,000 tokens, trained on the first rows."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4000, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    with path.open() as file:
        tokenizer.train_from_iterator([next(file) for _ in range(3000)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def spent() -> tuple[float, float]:
    """Wall and processor seconds so far, of this process and its finished children."""
    times = os.times()
    return time.perf_counter(), sum(times[:4])


def since(start: tuple[float, float]) -> tuple[float, float]:
    """Wall and processor seconds since ``start``."""
    now = spent()
    return now[0] - start[0], now[1] - start[1]


def rendered(encoder: Any, path: Path) -> list[str]:
    """The rows as the template writes them."""
    from tunesmith.data.formats.alpaca import read

    with path.open() as file:
        records = (read(json.loads(line)) for line in file)
        return [encoder.renderer.render([one.as_dict() for one in record.messages or ()]).text for record in records]


def bare(encoder: Any, texts: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of the bare tokenizer."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(encoder.tokenizer_json)
    started = spent()
    for start in range(0, len(texts), 1000):
        [encoding.ids for encoding in tokenizer.encode_batch(texts[start : start + 1000], add_special_tokens=False)]
    return since(started)


def prepared(encoder: Any, path: Path, cache: Path, *, processes: int) -> tuple[float, float]:
    """Wall and processor seconds of the data path, into the empty folder ``cache``."""
    from tunesmith.data.prepare import prepare
    from tunesmith.recipe.schema import DataConfig, SourceConfig

    config = DataConfig(train=[SourceConfig(path=str(path))], max_tokens=1024, max_lost=1.0, workers=processes)
    started = spent()
    prepare(config, encode, encoder, seed=0, cache=cache, options_key="benchmark")
    return since(started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(arguments.processes)  # the threads of the bare tokenizer
    sys.modules["tokenise"] = sys.modules["__main__"]  # so that worker processes find `encode` by this file's name
    sys.path.insert(0, str(Path(__file__).parent))
    encode.__module__ = "tokenise"
    from transformers import AutoTokenizer

    from tunesmith.data.chat import ChatEncoder

    with tempfile.TemporaryDirectory() as folder:
        path, tenth = Path(folder) / "rows.jsonl", Path(folder) / "tenth.jsonl"
        write_rows(path, arguments.rows)
        write_rows(tenth, arguments.rows // 10)
        tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer) if arguments.tokenizer else make_tokenizer(path)
        encoder = ChatEncoder.build(tokenizer, "plain")
        memory = []
        for rows in (tenth, path):
            prepared(encoder, rows, Path(folder) / f"memory-{rows.stem}", processes=arguments.processes)
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        texts = rendered(encoder, path)
        ours, theirs = [], []
        for pair in range(arguments.pairs):
            ours.append(prepared(encoder, path, Path(folder) / f"cache-{pair}", processes=arguments.processes))
            theirs.append(bare(encoder, texts))
    wall, processor = ([one[kind] / other[kind] for one, other in zip(theirs, ours, strict=True)] for kind in (0, 1))
    result = {
        "rows": arguments.rows,
        "processes": arguments.processes,
        "rows_per_second": round(arguments.rows / median(one[0] for one in ours)),
        "bare_rows_per_second": round(arguments.rows / median(one[0] for one in theirs)),
        "ratio": round(median(wall), 3),
        "ratios": [round(one, 3) for one in wall],
        "ratio_of_processor_time": round(median(processor), 3),
        "peak_mib_a_tenth_of_the_rows": memory[0],
        "peak_mib_all_rows": memory[1],
        "peak_mib_worker": child,
        "cores": os.cpu_count(),
    }
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
