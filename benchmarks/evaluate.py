"""1,000 held-out prompts evaluated by generation: this project's evaluation beside the same loop with transformers.

    python benchmarks/evaluate.py [--prompts 1000] [--tokens 64] [--batch 32] [--rounds 1] [--dtype float32] [--json]
    python benchmarks/evaluate.py --model MERGED      (Seedling after a training: its answers end when they are done)

Seedling, one thread, greedy, held-out questions of its own tasks with their right answers. Both answer every prompt,
cut the answer where the model ends it and score exact match and token F1:

- *tunesmith*: ``evaluate_answers``, which ``tunesmith eval`` and every run's exam call, with as many rows at once as
  they take (``run.judge.rows_at_once``).
- *transformers*: the loop that one writes without it: batches of ``--batch`` in the order of the rows, left-padded,
  ``model.generate``, the same scores.
- *transformers, sorted*: the same with prompts of similar length together, the usual remedy.

CPU time of the thread, so that a busy machine does not decide; the ratio is of prompts a second. In float32 all three
must give the same answers (exit code 1 where they do not).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tunesmith.contracts.data import Prompt
from tunesmith.evaluation.answers import AnswerReport, AnswerRow, evaluate_answers
from tunesmith.generation.generator import Generator
from tunesmith.metrics.exact_match import exact_match
from tunesmith.metrics.f1 import token_f1
from tunesmith.models.load import load_model, load_tokenizer
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.seedling import instruction_set
from tunesmith.run.judge import rows_at_once

STOPS = [1, 3]


def questions(count: int, tokenizer: Any) -> list[Prompt]:
    """Held-out questions with their right answers."""
    found = []
    for row in instruction_set("all", seed=1, split="held-out", n=count):
        text = tokenizer.apply_chat_template(row["messages"][:-1], add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        found.append(Prompt(ids, row["messages"][-1]["content"], text))
    return found


def loop(model: Any, tokenizer: Any, prompts: Sequence[Prompt], tokens: int, batch: int) -> AnswerReport:
    """Batch after batch through ``generate``."""
    rows = []
    for first in range(0, len(prompts), batch):
        chosen = prompts[first : first + batch]
        longest = max(len(prompt.ids) for prompt in chosen)
        pads = [longest - len(prompt.ids) for prompt in chosen]
        ids = torch.tensor([[0] * pad + list(prompt.ids) for pad, prompt in zip(pads, chosen, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * len(prompt.ids) for pad, prompt in zip(pads, chosen, strict=True)])
        with torch.inference_mode():
            out = model.generate(
                ids, attention_mask=mask, max_new_tokens=tokens, eos_token_id=STOPS, pad_token_id=0, do_sample=False
            )
        for prompt, row in zip(chosen, out, strict=True):
            said = row[longest:].tolist()
            end = next((at for at, token in enumerate(said) if token in STOPS), len(said))
            text = tokenizer.decode(said[:end], skip_special_tokens=True).strip()
            scores = {"exact_match": exact_match(text, prompt.reference), "f1": token_f1(text, prompt.reference)}
            rows.append(AnswerRow(prompt.text, prompt.reference, text, end < len(said), scores))
    return AnswerReport.of(rows)


def by_length(prompts: Sequence[Prompt]) -> list[int]:
    """Numbers of prompts, the longest first."""
    return sorted(range(len(prompts)), key=lambda number: -len(prompts[number].ids))


def candidates(options: argparse.Namespace) -> tuple[dict[str, Callable[[], AnswerReport]], Any, int]:
    """What is measured, the tokenizer, and how many prompts there are."""
    dtype = getattr(torch, options.dtype)
    tokenizer, model = load_tokenizer(options.model), load_model(options.model, dtype=dtype).eval()
    policy = CausalPolicy(load_model(options.model, dtype=dtype))
    prompts = questions(options.prompts, tokenizer)
    order = by_length(prompts)

    def ours() -> AnswerReport:
        rows = rows_at_once(policy.model, max(len(prompt.ids) for prompt in prompts) + options.tokens)
        generator = Generator(policy, stop_ids=STOPS, max_new_tokens=options.tokens, batch=rows)
        decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=True)  # noqa: E731
        return evaluate_answers(generator, prompts, decode=decode)

    def sorted_loop() -> AnswerReport:
        found = loop(model, tokenizer, [prompts[number] for number in order], options.tokens, options.batch)
        rows = dict(zip(order, found.rows, strict=True))
        return AnswerReport.of([rows[number] for number in range(len(order))])

    return (
        {
            "tunesmith": ours,
            "transformers": lambda: loop(model, tokenizer, prompts, options.tokens, options.batch),
            "transformers, sorted": sorted_loop,
        },
        tokenizer,
        len(prompts),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", default="embedded", help="a model with Seedling's tokenizer (default: Seedling)")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    calls, tokenizer, count = candidates(options)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    reports: dict[str, AnswerReport] = {}
    for _ in range(options.rounds):
        for name, call in calls.items():
            start = time.thread_time()
            reports[name] = call()
            seconds[name].append(time.thread_time() - start)
    own = reports["tunesmith"]
    tokens = sum(len(tokenizer(row.answer, add_special_tokens=False)["input_ids"]) + 1 for row in own.rows)
    rows = {}
    for name, times in seconds.items():
        taken = statistics.median(times)
        equal = sum(one.answer == other.answer for one, other in zip(own.rows, reports[name].rows, strict=True))
        rows[name] = {
            "seconds": taken,
            "prompts_per_second": count / taken,
            "tokens_per_second": tokens / taken,
            "exact_match": reports[name].exact_match.value,
            "equal_answers": equal,
            "ours_is_faster_by": taken / statistics.median(seconds["tunesmith"]),
        }
    if options.json:
        print(json.dumps({"prompts": count, "tokens": tokens, "dtype": options.dtype, **rows}, indent=1))
    else:
        print(f"{count} prompts, {tokens} answer tokens, {options.dtype}, transformers with {options.batch} at once")
        for name, row in rows.items():
            print(
                f"{name:22} {row['seconds']:7.1f} s CPU {row['tokens_per_second']:7,.0f} tokens/s"
                f"  exact match {row['exact_match']:.3f}  equal {row['equal_answers']}/{count}"
                f"  tunesmith {row['ours_is_faster_by']:.2f} times as fast"
            )
    if options.dtype == "float32" and any(row["equal_answers"] < count for row in rows.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
