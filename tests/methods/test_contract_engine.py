"""The contract of every method with the engine: packing, micro-batches, recomputing, resuming, generating, quantizing.

The rows are those of ``test_contract``; a tiny Llama stands for the families. An exception is data with its reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.training import Rows, equal, examples, final, job
from families import VOCABULARY, tiny
from methods.test_contract import METHODS, NO_MERGE, NOT_THE_BASE, label, method_for, parameters
from tunesmith.contracts.batch import Layout, Stream
from tunesmith.engine import checkpoint
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import Job, accumulate, one_update
from tunesmith.engine.microbatch import cut
from tunesmith.errors import UserError
from tunesmith.generation.generator import Generator
from tunesmith.models.quantized.model import quantize_model
from tunesmith.recipe.schema import Part

each = pytest.mark.parametrize("part", METHODS, ids=label)
WHOLE = {
    "full": "every weight is trained, so none is packed",
    "freeze": "trains weights of the base, which have no gradient while they are packed",
    "peft:LORA": "PEFT knows the packed layers of others only",
}
"""Methods that a quantized base refuses, and why."""
EXCEPTIONS = {
    "test_merged_is_the_adapted_model": NO_MERGE,
    "test_step_zero_is_the_base_bit_for_bit": NOT_THE_BASE,
    "test_on_a_quantized_base": WHOLE | {"peft": "PEFT knows the packed layers of others only"},
}
"""Promise -> method -> why not, for the support matrix (``tools/support.py``)."""
PACKS_ITSELF = {"loftq": "quantizes the layers it adapts itself, to make up for what that loses"}
CHANGES_THE_BASE = ("pissa", "pissa-fast")
"""Starts of LoRA that leave the rest of the weight in the base, so its packed bytes are others."""


def without_dropout(part: Part) -> Part:
    return Part(name=part.name, **{key: value for key, value in part.fields.items() if key != "dropout"})


def made(part: Part, folder: Path, **options: Any) -> Job:
    """A job with the method, each update 8 rows, its trained values moved off their start."""
    one = job(folder, steps=6, method=method_for(part, "llama"), config={"learning_rate": 0.02}, **options)
    one.microbatch_tokens = 10_000
    one.emit = lambda _: None
    for step in range(2):
        one_update(one, step)
    return one


def gradients(one: Job, budget: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of update 3, cut into micro-batches of ``budget`` tokens."""
    rows = one.feed.update(3)
    one.weights.drop_gradients()
    loss = accumulate(one, cut(rows, budget), one.objective.counts(rows), 3).loss
    one.weights.collect()
    return loss, {name: value.grad.clone() for name, value in one.weights.values.items() if value.grad is not None}


def close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], tolerance: float) -> None:
    """Within ``tolerance`` of the largest entry of each gradient: float32 sums in another order."""
    assert left.keys() == right.keys()
    for name, value in left.items():
        worst = float((value - right[name]).abs().max())
        assert worst <= tolerance * max(float(value.abs().max()), 1e-3), (name, worst)


def stream(*sequences: list[int]) -> Stream:
    lengths = tuple(map(len, sequences))
    starts = torch.tensor([0, *lengths]).cumsum(0)
    positions = torch.cat([torch.arange(length) for length in lengths])
    return Stream(torch.tensor([token for one in sequences for token in one]), positions, Layout(starts, lengths))


def sequences() -> list[list[int]]:
    rng = torch.Generator().manual_seed(6)
    return [torch.randint(3, VOCABULARY, (length,), generator=rng).tolist() for length in (9, 1, 14)]


@each
def test_packed_is_alone_and_padded(part: Part, tmp_path: Path) -> None:
    policy: Any = made(part, tmp_path).policy.eval()
    with torch.no_grad():
        together = policy.hidden(stream(*sequences()))
        alone = torch.cat([policy.hidden(stream(one)) for one in sequences()])
        policy.drive("padded")
        padded = policy.hidden(stream(*sequences()))
    # hidden states are of order 1; float32 sums in another order
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(together, padded, atol=2e-5, rtol=1e-4)


@each
def test_one_micro_batch_is_many(part: Part, tmp_path: Path) -> None:
    one = made(without_dropout(part), tmp_path)
    whole, pieces = gradients(one, 10_000), gradients(one, 30)
    assert pieces[0] == pytest.approx(whole[0], rel=1e-5)
    close(whole[1], pieces[1], 1e-4)


@each
def test_recomputed_activations_give_the_same_gradients(part: Part, tmp_path: Path) -> None:
    one = made(part, tmp_path)
    straight = gradients(one, 100)
    one.policy.model.activation_checkpointing_enable({"use_reentrant": False})  # type: ignore[union-attr, operator]
    recomputed = gradients(one, 100)
    assert recomputed[0] == pytest.approx(straight[0], rel=1e-6)
    close(straight[1], recomputed[1], 1e-5)


@each
def test_resumed_is_uninterrupted(part: Part, tmp_path: Path) -> None:
    def start() -> Job:
        fresh = job(tmp_path, steps=6, method=method_for(part, "llama"), config={"learning_rate": 0.02})
        fresh.emit = lambda _: None
        return fresh

    whole = start()
    for step in range(6):
        one_update(whole, step)
    stopped = start()
    for step in range(3):
        one_update(stopped, step)
    state = stopped.attached.state()
    path = checkpoint.save(tmp_path, Progress(step=3), stopped.weights, stopped.optimizer, method=state)
    resumed = start()
    resumed.attached.restore(checkpoint.restore(path, resumed.weights, resumed.optimizer))
    for step in range(3, 6):
        one_update(resumed, step)
    assert equal(final(whole), final(resumed))


@each
def test_generation_with_a_cache_is_without(part: Part, tmp_path: Path) -> None:
    policy: Any = made(part, tmp_path).policy.eval()
    asked = sequences()
    answers = Generator(policy, stop_ids=[], max_new_tokens=6, batch=2).generate(asked)
    for prompt, answer in zip(asked, answers, strict=True):
        ids = list(prompt)
        for _ in range(6):
            with torch.no_grad():
                ids.append(int(policy.logits(policy.hidden(stream(ids))[-1:]).argmax()))
        assert answer.ids == ids[len(prompt) :]


@each
def test_on_a_quantized_base(part: Part, tmp_path: Path) -> None:
    """Trains over packed weights that stay as they are, or is refused by name."""
    model = tiny("llama")
    quantize_model(model, "nf4-double")
    before = {name: value.clone() for name, value in model.state_dict().items() if not value.is_floating_point()}
    assert before
    if part.name in WHOLE or part.fields.get("init") in PACKS_ITSELF:
        with pytest.raises(UserError) as caught:
            method_for(part, "llama").attach(model)
        assert caught.value.code in ("quantized-base", "bad-peft-options", "already-quantized")
        return
    ids = torch.randint(3, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(4))
    attached = method_for(part, "llama").attach(model)
    start = {name: value.detach().clone() for name, value in parameters(attached).items()}
    optimizer = torch.optim.SGD(start_values := list(parameters(attached).values()), lr=0.3)
    model.train()
    for _ in range(2):
        out = model(input_ids=ids).logits
        torch.nn.functional.cross_entropy(out[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(value.isfinite().all() for value in start_values)
    assert any(not torch.equal(value, start[name]) for name, value in parameters(attached).items())
    after = {name.replace("base_layer.", ""): value for name, value in model.state_dict().items()}
    if part.fields.get("init") not in CHANGES_THE_BASE:
        assert all(torch.equal(after[name], value) for name, value in before.items())


def test_rows_of_another_length_make_another_gradient(tmp_path: Path) -> None:
    """The checks above can fail: other rows are seen."""
    one = made(METHODS[0], tmp_path)
    _, here = gradients(one, 100)
    one.feed = Rows(examples(40, seed=1), 8)
    _, there = gradients(one, 100)
    with pytest.raises(AssertionError):
        close(here, there, 1e-4)
