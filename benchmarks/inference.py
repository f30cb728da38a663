"""Generating with each method: tokens a second and the time to the first token, merged and with the adapter on.

    python benchmarks/inference.py [--prompts 32] [--tokens 48] [--rounds 3] [--methods lora,adapter] [--json]

Seedling, one thread, greedy, prompts of 8 to 40 tokens in one batch; the base alone is 1. All variants take turns;
medians of the thread's CPU time. The adapter's values are moved off their start, so that nothing is skipped. A packed
base is unpacked once, as every command does that asks a run (where memory allows); *packed*: as in training.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from tunesmith.bench.candidates import KNOWN
from tunesmith.errors import UserError
from tunesmith.generation.generator import Generator
from tunesmith.methods import TABLE
from tunesmith.models import precision
from tunesmith.models.load import load_model
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.quantized.model import keep_dense, quantize_model
from tunesmith.recipe import Part
from tunesmith.recipe.parts import build

WHOLE = ("full", "freeze")
"""They are a plain model: the base's own speed."""


def base(quantize: str = "none") -> Any:
    """Seedling in the compute dtype of this machine."""
    model = load_model("embedded")
    model.to(precision.choose("auto", model.dtype))
    if quantize != "none":
        quantize_model(model, quantize)
    return model


def variants(names: list[str]) -> dict[str, CausalPolicy]:
    """A policy for the base and for each method, with the adapter on and merged where it can be."""
    found = {"base": CausalPolicy(base())}
    for name in names:
        fields, changes = KNOWN[name]
        if fields["name"] == "bitfit":
            fields = {**fields, "add": True}
        for merged in (False, True):
            model = base(**changes)
            attached = build(TABLE, Part.model_validate(fields)).attach(model)
            stir(attached)
            if merged:
                try:
                    model = attached.merge()
                except UserError:
                    continue
            found[f"{name}, merged" if merged else name] = CausalPolicy(model)
            if changes and not merged:
                packed = copy.deepcopy(model)
                found[f"{name}, packed"] = CausalPolicy(packed)
            keep_dense(model)
    return found


@torch.no_grad()
def stir(attached: Any) -> None:
    """Add a little noise to every trained value."""
    generator = torch.Generator().manual_seed(0)
    for group in attached.groups():
        for value in group.parameters.values():
            value.add_((torch.randn(value.shape, generator=generator) * 0.01).to(value.dtype))


def measured(call: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", default=",".join(name for name in KNOWN if name not in WHOLE))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(0)
    lengths = torch.randint(8, 41, (options.prompts,), generator=rng).tolist()
    asked = [torch.randint(10, 4000, (length,), generator=rng).tolist() for length in lengths]
    policies = variants([name for name in options.methods.split(",") if name])
    whole: dict[str, list[float]] = {name: [] for name in policies}
    first: dict[str, list[float]] = {name: [] for name in policies}
    warm = next(iter(policies.values()))
    Generator(warm, stop_ids=[], max_new_tokens=8, batch=options.prompts).generate(asked)
    for _ in range(options.rounds):
        for name, policy in policies.items():
            engine = Generator(policy, stop_ids=[], max_new_tokens=options.tokens, batch=options.prompts)
            whole[name].append(measured(lambda engine=engine: engine.generate(asked)))
            one = Generator(policy, stop_ids=[], max_new_tokens=1, batch=1)
            first[name].append(measured(lambda one=one: one.generate(asked[:1])))
    made = options.prompts * options.tokens
    reference = statistics.median(whole["base"])
    rows = {
        name: {
            "tokens_per_second": made / statistics.median(times),
            "of_base": reference / statistics.median(times),
            "first_token_ms": 1000 * statistics.median(first[name]),
        }
        for name, times in whole.items()
    }
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'variant':28} {'tokens/s':>9} {'of base':>8} {'first token':>12}")
    for name, row in rows.items():
        print(f"{name:28} {row['tokens_per_second']:9,.0f} {row['of_base']:8.2f} {row['first_token_ms']:9.1f} ms")


if __name__ == "__main__":
    main()
