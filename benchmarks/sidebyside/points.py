"""The points of a scaling curve, the cheapest first: updates of LoRA on random Llamas of given shapes.

    python -m sidebyside.points '[{"shape": {…}, "sequences": 8, "length": 256, "answered": false, "rank": 16}, …]'

A sequence is one word, ``length`` times, asked, with a short answer; or with ``answered`` answered, so that nearly all
tokens carry loss. Updates are repeated until they have taken ``LEAST`` seconds, and one before them is warm-up. Where
the system allows it the mark of the peak memory is taken back before each point.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidebyside.child import peak_memory, timed
from sidebyside.job import opened
from sidebyside.material import Size, make_model, make_tokenizer, write_rows
from sidebyside.report import digest

LEAST, MOST_UPDATES = 1.0, 8
WORD = "self "


def main(every: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """What each point costs."""
    import gc

    import torch

    torch.set_num_threads(1)
    found = []
    for options in every:
        gc.collect()
        forget_peak()
        found.append(point(options))
    return found


def forget_peak() -> None:
    """Let the peak memory of this process be what it holds now; Linux alone can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak() -> int:
    """Bytes of the peak memory since ``forget_peak``."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return peak_memory()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def point(options: dict[str, Any]) -> dict[str, float]:
    """Tokens, useful operations and CPU seconds of an update, and the process's peak memory meanwhile."""
    from tunesmith.engine import loop
    from tunesmith.models.flops import update_flops
    from tunesmith.recipe import Recipe

    folder = made(options)
    recipe = Recipe.model_validate(
        {
            "model": {"base": str(folder / "model"), "dtype": "float32", "threads": 1, "checkpointing": "off"},
            "data": {
                "train": [{"path": str(folder / "rows.jsonl"), "format": "messages"}],
                "validation": 0.0,
                "max_tokens": options["shape"]["positions"],
                "workers": 1,
            },
            "method": {"name": "lora", "rank": options["rank"]},
            "train": {"steps": 1, "batch_size": options["sequences"]},
            "retention": "none",
        }
    )
    found = opened(recipe, steps=MOST_UPDATES + 1)
    seconds: list[float] = []
    for step in range(MOST_UPDATES + 1):
        update, _, cpu = timed(lambda step=step: loop.one_update(found.job, step))
        seconds.append(cpu)
        if step > 0 and sum(seconds[1:]) > LEAST:
            break
    lengths = [len(example) for example in found.job.feed.update(0)]
    return {
        "tokens": sum(lengths),
        "length": max(lengths),
        "cpu": statistics.median(seconds[1:]),
        "flops": update_flops(found.session.model, lengths, update.units),
        "peak": peak(),
    }


def made(options: dict[str, Any]) -> Path:
    """The folder with model, tokenizer and rows of a point; the tokenizer is trained once."""
    folder = Path("point-" + digest(json.dumps(options, sort_keys=True).encode()))
    words, shape = Path("tokenizer"), Size(**options["shape"])
    if not words.is_dir():
        make_tokenizer().save_pretrained(words)
    if not (folder / "rows.jsonl").is_file():
        make_model(shape).save_pretrained(folder / "model")
        for file in words.iterdir():
            (folder / "model" / file.name).write_bytes(file.read_bytes())
        long, short = (WORD * options["length"]).strip(), "yes"
        asked, answer = (short, long) if options["answered"] else (long, short)
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        # rows that are not the same: a copy of a row would be dropped
        rows = [
            {"messages": [{**turns[0], "content": f"{number} {asked}"}, turns[1]]}
            for number in range(options["sequences"])
        ]
        write_rows(folder / "rows.jsonl", rows)
    return folder


if __name__ == "__main__":
    print(json.dumps({"points": main(json.loads(sys.argv[1]))}))
