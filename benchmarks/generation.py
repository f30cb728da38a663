"""Answers to 64 prompts of mixed lengths: this project's generator beside transformers' ``generate``, same model.

    python benchmarks/generation.py [--prompts 64] [--tokens 256] [--rounds 5] [--dtypes float32,bfloat16] [--json]

Seedling, one thread. Three jobs, each done by both in turn; medians of the thread's CPU time over the rounds:

- ``answers``: held-out questions of Seedling's own tasks, greedy; an answer ends where the model ends it, at most after
  ``--tokens``. Tokens are counted up to the end of each answer.
- ``fixed``: the same prompts, every answer exactly 64 tokens, so that nothing is gained by answers that end early.
- ``samples``: the first 8 prompts, 8 answers each at temperature 1, each until the model ends it.

transformers runs all prompts as one left-padded batch with its own cache, and its attention ``sdpa``. Greedy answers
are compared token by token; in float32 they must be identical (exit code 1 where they are not).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tunesmith.contracts.sampler import GREEDY, Sampling
from tunesmith.generation.generator import Generator
from tunesmith.models.load import load_model, load_tokenizer
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.seedling import instruction_set

FIXED = 64
STOPS = [1, 3]


@dataclass(frozen=True)
class Job:
    """What both are asked: ``samples`` answers to each of ``prompts``."""

    prompts: list[list[int]]
    tokens: int
    stops: list[int]
    samples: int = 1
    sampling: Sampling = GREEDY


def jobs(count: int, tokens: int) -> dict[str, Job]:
    """The three jobs."""
    tokenizer = load_tokenizer("embedded")
    rows = instruction_set("all", seed=1, split="held-out", n=count)
    prompts = [
        tokenizer.apply_chat_template(row["messages"][:-1], add_generation_prompt=True, return_dict=False)
        for row in rows
    ]
    return {
        "answers": Job(prompts, tokens, STOPS),
        "fixed": Job(prompts, FIXED, []),
        "samples": Job(prompts[:8], tokens, STOPS, samples=8, sampling=Sampling(temperature=1.0)),
    }


def theirs(model: Any, job: Job) -> list[list[int]]:
    """transformers: one left-padded batch."""
    longest = max(map(len, job.prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in job.prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in job.prompts])
    drawn = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0} if job.sampling.temperature else {}
    out = model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=job.tokens,
        eos_token_id=job.stops or None,
        pad_token_id=0,
        num_return_sequences=job.samples,
        **({"do_sample": False} | drawn),
    )
    return [ended(row[longest:].tolist(), job.stops) for row in out]


def ours(policy: CausalPolicy, job: Job) -> list[list[int]]:
    """The generator, with as many rows as transformers has."""
    rows = len(job.prompts) * job.samples
    generator = Generator(policy, stop_ids=job.stops, max_new_tokens=job.tokens, batch=rows)
    answers = generator.generate(job.prompts, samples=job.samples, sampling=job.sampling)
    return [[*answer.ids, answer.stop] if isinstance(answer.stop, int) else answer.ids for answer in answers]


def ended(ids: list[int], stops: list[int]) -> list[int]:
    """``ids`` up to the first stop token."""
    for place, token in enumerate(ids):
        if token in stops:
            return ids[: place + 1]
    return ids


def compared(names: dict[str, Job], dtype: torch.dtype, rounds: int) -> dict[str, dict[str, float]]:
    """Both on every job, in turn; one round more than counted, to warm up."""
    model, policy = load_model("embedded", dtype=dtype), CausalPolicy(load_model("embedded", dtype=dtype))
    found = {}
    for name, job in names.items():
        speeds: list[list[float]] = [[], []]
        answers: list[list[list[int]]] = [[], []]
        calls: list[Callable[[], list[list[int]]]] = [
            lambda job=job: theirs(model, job),
            lambda job=job: ours(policy, job),
        ]
        for _ in range(rounds + 1):
            for which, call in enumerate(calls):
                start = time.thread_time()
                answers[which] = call()
                speeds[which].append(sum(map(len, answers[which])) / (time.thread_time() - start))
        ratios = [one / other for other, one in zip(*(speed[1:] for speed in speeds), strict=True)]
        equal = sum(one == other for one, other in zip(*answers, strict=True))
        found[name] = {
            "tokens": sum(map(len, answers[1])),
            "longest": max(map(len, answers[1])),
            "transformers": statistics.median(speeds[0][1:]),
            "tunesmith": statistics.median(speeds[1][1:]),
            "ratio": statistics.median(ratios),
            "least": min(ratios),
            "equal": equal if not job.sampling.temperature else float("nan"),
            "of": len(answers[1]),
        }
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--jobs", default="answers,fixed,samples")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    asked = {
        name: job for name, job in jobs(options.prompts, options.tokens).items() if name in options.jobs.split(",")
    }
    found = {name: compared(asked, getattr(torch, name), options.rounds) for name in options.dtypes.split(",")}
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        print(f"{'':18} {'transformers':>13} {'tunesmith':>10} {'ratio':>6} {'least':>6} {'equal':>9}")
        for dtype, rows in found.items():
            for name, row in rows.items():
                shown = "" if row["equal"] != row["equal"] else f"{row['equal']}/{row['of']}"
                print(
                    f"{dtype:9} {name:8} {row['transformers']:9,.0f} t/s {row['tunesmith']:6,.0f} t/s"
                    f" {row['ratio']:6.2f} {row['least']:6.2f} {shown:>9}"
                )
    exact = found.get("float32", {})
    if any(row["equal"] < row["of"] for row in exact.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
