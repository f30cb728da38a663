"""Generated rows cleaned, near-deduped, decontaminated, tokenised and packed: time and memory by size.

    python benchmarks/scale.py [--sizes 10000,100000,1000000] [--processes 2] [--json]
    python benchmarks/scale.py --one ROWS --folder FOLDER          (what each size runs; killed, it goes on)

Each size is a process of its own with an empty cache. The rows are alpaca rows of about 110 words, of which 5% are
exact and 5% near copies, 1% hold a text of the evaluation file, 2% are in a wrong encoding and 1% are refusals.
``memory`` is the largest sum of resident memory of the process and its workers, sampled ten times a second (pages that
they share are counted for each). Bars: under 2 GB, and processor seconds a row that do not grow with the rows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenise import encode, make_tokenizer

STEPS: list[dict[str, Any]] = [
    {"name": "unicode"},
    {"name": "length", "max_words": 1000},
    {"name": "quality"},
    {"name": "decontaminate"},
    {"name": "exact-dedup"},
    {"name": "near-dedup"},
]
BATCH = 64
MICROBATCH = 8192
PAGE = os.sysconf("SC_PAGE_SIZE")
EXAM = 500


def write_rows(path: Path, exam: Path, count: int) -> None:
    """Rows and an evaluation file from a fixed seed; what is copied is among the last 2,000 rows or the exam's."""
    chance = random.Random(0)
    vocabulary = ["".join(chance.choices("etaoinshrdlcumwfgypbvk", k=chance.randint(2, 9))) for _ in range(20_000)]
    ranks = [1.0 / (rank + 10) for rank in range(len(vocabulary))]

    def text(words: int) -> list[str]:
        return chance.choices(vocabulary, cum_weights=cumulative, k=words)

    cumulative = list(_sums(ranks))
    asked = [" ".join(text(30)) for _ in range(EXAM)]
    exam.write_text("".join(json.dumps({"question": one, "answer": "yes"}) + "\n" for one in asked))
    recent: deque[dict[str, str]] = deque(maxlen=2000)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            kind = chance.random()
            words = text(chance.randint(60, 160))
            row = {"instruction": f"{' '.join(words[:20])}?", "input": "", "output": " ".join(words[20:]) + "."}
            if kind < 0.05 and recent:
                row = chance.choice(recent)
            elif kind < 0.10 and recent:
                row = dict(chance.choice(recent))
                changed = row["output"].split()
                changed[chance.randrange(len(changed))] = chance.choice(vocabulary)
                row["output"] = " ".join(changed)
            elif kind < 0.11:
                row["output"] += f" {chance.choice(asked)}"
            elif kind < 0.13:
                row["output"] += " cafÃ© naÃ¯ve"
            elif kind < 0.14:
                row["output"] = "As an AI language model, I cannot say."
            recent.append(row)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _sums(values: list[float]) -> Iterator[float]:
    total = 0.0
    for value in values:
        total += value
        yield total


@contextmanager
def watched() -> Iterator[dict[str, int]]:
    """The largest sum of resident bytes of this process and those it started, under ``memory``."""
    found, over = {"memory": 0}, threading.Event()

    def sample() -> None:
        while not over.wait(0.1):
            found["memory"] = max(found["memory"], sum(map(_resident, _family(os.getpid()))))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    yield found
    over.set()
    thread.join()


def _family(process: int) -> list[int]:
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        threads = list(Path(f"/proc/{process}/task").iterdir())
    except OSError:
        return []
    for thread in threads:
        if thread.name != str(process):
            try:
                children += (thread / "children").read_text().split()
            except OSError:
                continue
    return [process, *(one for child in children for one in _family(int(child)))]


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


class Clock:
    """Wall and processor seconds (children that ended included) of each stage."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self._wall, self._processor = time.perf_counter(), sum(os.times()[:4])

    def stage(self, name: str) -> None:
        """What was done since the last call was ``name``."""
        wall, processor = time.perf_counter(), sum(os.times()[:4])
        self.stages[name] = {
            "seconds": round(wall - self._wall, 2),
            "processor": round(processor - self._processor, 2),
        }
        self._wall, self._processor = wall, processor


def worked(rows: Path, exam: Path, folder: Path, processes: int) -> dict[str, Any]:
    """Everything, with its cache in ``folder``; what was stopped goes on."""
    from tunesmith.data.chat import ChatEncoder
    from tunesmith.data.curate import TABLE
    from tunesmith.data.curate.pipeline import curate
    from tunesmith.data.prepare import prepare
    from tunesmith.recipe.parts import build
    from tunesmith.recipe.schema import DataConfig, Part, SourceConfig

    clock = Clock()
    given = [{**step, "against": [str(exam)]} if step["name"] == "decontaminate" else step for step in STEPS]
    steps = [build(TABLE, Part(**one)) for one in given]
    told = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    curated = curate([SourceConfig(path=str(rows))], steps, cache=folder / "curated", workers=processes, told=told)
    ledger = curated.ledger
    clock.stage("curate")
    told("tokenising")
    config = DataConfig(
        train=[SourceConfig(path=str(curated.files[0]), format="alpaca")],
        validation=0.01,
        max_lost=1.0,
        workers=processes,
    )
    encoder = ChatEncoder.build(make_tokenizer(rows), "plain")
    prepared = prepare(config, encode, encoder, seed=0, cache=folder / "tokens", options_key="scale")
    clock.stage("tokenise")
    told("packing")
    packed = pack(prepared.train)
    clock.stage("pack")
    return {
        "rows": ledger.rows,
        "kept": ledger.total("kept"),
        "dropped": ledger.total("dropped"),
        **packed,
        "stages": clock.stages,
        "digest": digest([*curated.files, *sorted((folder / "tokens").glob("*/*.bin"))]),
    }


def pack(store: Any) -> dict[str, int]:
    """One epoch as the engine asks for it: updates, cut into flat micro-batches of at most ``MICROBATCH`` tokens."""
    from tunesmith.data.collate import flatten
    from tunesmith.data.loader import SequenceFeed
    from tunesmith.engine.microbatch import cut

    feed = SequenceFeed(store, seed=0, batch_size=BATCH)
    tokens = batches = 0
    for step in range(feed.steps_in(1.0)):
        for piece in cut(feed.update(step), MICROBATCH):
            batch = flatten(piece)
            tokens += len(batch.main.ids)
            batches += 1
    return {"tokens": tokens, "microbatches": batches}


def digest(files: list[Path]) -> str:
    """One digest of the bytes of all ``files``."""
    found = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            found.update(hashlib.file_digest(opened, "sha256").digest())
    return found.hexdigest()


def one(count: int, folder: Path, processes: int) -> dict[str, Any]:
    """One size in ``folder``, which becomes the working directory: what is written names files by relative paths."""
    os.chdir(folder)
    rows, exam = Path(f"rows-{count}.jsonl"), Path("exam.jsonl")
    if not rows.exists():
        temporary = Path("writing.jsonl")
        write_rows(temporary, exam, count)
        temporary.replace(rows)
    with watched() as seen:
        found = worked(rows, exam, Path(), processes)
    processor = sum(stage["processor"] for stage in found["stages"].values())
    return {**found, "memory_mb": seen["memory"] // 10**6, "microseconds_a_row": round(1e6 * processor / count)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--one", type=int)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.one is not None:
        sys.modules["scale"] = sys.modules["__main__"]
        print(json.dumps(one(arguments.one, arguments.folder, arguments.processes)))
        return
    results = []
    for size in map(int, arguments.sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--one", str(size), "--folder", folder]
            done = subprocess.run(
                [*command, "--processes", str(arguments.processes)], check=True, stdout=subprocess.PIPE, text=True
            )
        results.append(json.loads(done.stdout))
        if not arguments.json:
            print(json.dumps(results[-1]), flush=True)
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
