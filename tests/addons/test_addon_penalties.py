"""Fisher information against float64, and the pull back to the start: value, gradient, and what a resumed run reads."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from addon_setting import examples, gradients, job, put, setting, stir

from tiny_task import tiny_task
from tunesmith.addons.ewc import Ewc
from tunesmith.addons.fisher import diagonal
from tunesmith.addons.l2 import L2
from tunesmith.addons.pull import pull, start_of
from tunesmith.contracts.objective import TaskHead
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import fit, one_update
from tunesmith.engine.weights import Weights
from tunesmith.errors import UserError
from tunesmith.methods.bitfit import Bitfit
from tunesmith.methods.full import Full
from tunesmith.methods.lora import Lora
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.classify import Classify

METHODS = [Full(), Bitfit(add=True), Lora(rank=4)]
CLOSE = 2e-4
"""float32 against float64 of squared gradients, relative to the largest; measured at most 2e-5."""


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.NAME)
def test_fisher_is_the_mean_squared_gradient_of_sequences(method: object, tmp_path: Path) -> None:
    """Slow, in float64: each sequence alone through the transformers model, log p summed, squared, over all tokens."""
    made = setting(tmp_path, method=method)
    stir(made)
    rows = examples(5, seed=9)
    found = diagonal(made, rows)
    model = copy.deepcopy(made.policy.model).double().eval()
    model.set_attn_implementation("eager")
    of = {id(ours): name for name, ours in made.weights.parameters.items()}
    names = {name: of[id(value)] for name, value in made.policy.model.named_parameters() if id(value) in of}
    trained = {names[name]: value for name, value in model.named_parameters() if name in names}
    expected = {name: torch.zeros_like(value) for name, value in trained.items()}
    for row in rows:
        ids = torch.from_numpy(row.ids).long()
        log_p = torch.log_softmax(model(ids[None]).logits[0], dim=-1)
        said = sum(log_p[at - 1, ids[at]] for at in range(1, len(row)) if row.trained[at])
        for (name, _), slope in zip(trained.items(), torch.autograd.grad(said, list(trained.values())), strict=True):
            expected[name] += slope.square()
    tokens = sum(row.targets for row in rows)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        wanted = expected[name] / tokens
        assert torch.allclose(value.double(), wanted, atol=CLOSE * float(wanted.max()), rtol=0.0), name
        assert float(wanted.max()) > 0.0
    assert all(value.grad is None for value in made.weights.values.values())


def test_fisher_is_measured_without_dropout_and_leaves_the_mode_alone(tmp_path: Path) -> None:
    made = setting(tmp_path, dropout=True)
    made.policy.train()
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(diagonal(made, examples(2)))
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())
    assert all(module.training for module in made.policy.modules())


def test_with_a_task_head_the_fisher_is_of_its_labels(tmp_path: Path) -> None:
    """Squared gradients of log p(label), each text alone."""
    labels = ("a", "b", "c")
    model = tiny_task("bert", TaskHead("class", labels))
    weights = Weights(Full().attach(model).groups())
    weights.bind()
    objective = Classify(labels=labels)
    made = setting(tmp_path, policy=CausalPolicy(model, "padded"), weights=weights, objective=objective)
    rows = [replace(row, trained=np.arange(len(row)) == 0, labels=np.array([row.row % 3])) for row in examples(3)]
    found = diagonal(made, rows)
    name = "classifier.weight"
    wanted = torch.zeros_like(found[name])
    for row in rows:
        scores = model(input_ids=torch.from_numpy(row.ids).long()[None]).logits[0]
        said = torch.log_softmax(scores, -1)[row.row % 3]
        wanted += torch.autograd.grad(said, model.classifier.weight)[0].square()
    assert torch.allclose(found[name], wanted / 3, rtol=1e-3, atol=1e-9)
    with pytest.raises(UserError) as raised:
        put(made, Ewc())
    assert raised.value.code == "cannot-combine"


def test_before_training_the_fisher_of_lora_holds_b_alone(tmp_path: Path) -> None:
    found = diagonal(setting(tmp_path, method=Lora(rank=4)), examples(3))
    assert all((float(value.max()) > 0.0) == ("lora_B" in name) for name, value in found.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_pull_is_half_the_weighted_squared_distance(dtype: torch.dtype, tmp_path: Path) -> None:
    """P = w/2 Σ s (θ − θ⁰)², by hand: gradient w s (θ − θ⁰), of the masters even where the model is bfloat16."""
    made = setting(tmp_path, dtype=dtype)
    start = start_of(made.weights)
    stiff = {name: torch.rand_like(value) for name, value in start.items()}
    stir(made, size=1e-4)  # in bfloat16 most of this is below the spacing
    value = pull(made.weights, start, weight=3.0, stiffness=stiff)
    away = {name: made.weights.values[name] - start[name] for name in start}
    wanted = 1.5 * sum(float((stiff[name] * one.square()).double().sum()) for name, one in away.items())
    assert float(value.detach()) == pytest.approx(wanted, rel=1e-4)
    value.backward()
    slopes = gradients(made)
    loose = 0.0 if dtype == torch.float32 else 2**-8
    for name, one in away.items():
        assert torch.allclose(slopes[name], 3.0 * stiff[name] * one, rtol=loose + 1e-6, atol=1e-12)


def test_l2_holds_everything_alike(tmp_path: Path) -> None:
    made, added = put(setting(tmp_path), L2(weight=0.5))
    assert added[0].penalty is not None
    assert float(added[0].penalty().detach()) == 0.0
    stir(made, size=0.1)
    added[0].penalty().backward()
    norm = sum(float(one.square().sum()) for one in gradients(made).values())
    count = sum(value.numel() for value in made.weights.values.values())
    assert norm == pytest.approx(0.25 * 0.01 * count, rel=0.02)


def test_a_resumed_run_reads_the_fisher_of_the_first_start(tmp_path: Path) -> None:
    """What was measured stays, even where measuring again would give something else."""
    made, first = put(setting(tmp_path), Ewc(weight=2.0, rows=4))
    other = setting(tmp_path, words=lambda _: examples(8, seed=77))
    other, second = put(other, Ewc(weight=2.0, rows=4))
    for one in (made, other):
        stir(one)
    assert first[0].penalty is not None
    assert second[0].penalty is not None
    values = [float(one[0].penalty().detach()) for one in (first, second)]
    assert values[0] == values[1] > 0.0
    fresh = setting(tmp_path / "elsewhere", words=lambda _: examples(8, seed=77))
    fresh, third = put(fresh, Ewc(weight=2.0, rows=4))
    stir(fresh)
    assert third[0].penalty is not None
    assert float(third[0].penalty().detach()) != values[0]


@pytest.mark.parametrize("addon", [Ewc(weight=1e4), L2(weight=10.0)], ids=lambda addon: addon.NAME)
def test_the_penalty_keeps_weights_near_their_start(addon: object, tmp_path: Path) -> None:
    """The same updates with and without: the distance (in the add-on's own measure) is a fraction."""
    distance = {}
    for name, addons in (("with", [addon]), ("without", [])):
        made, added = put(setting(tmp_path / name, steps=6), *addons)
        _, measure = put(made, addon)
        fit(job(made, added, tmp_path / name), Progress())
        assert measure[0].penalty is not None
        distance[name] = float(measure[0].penalty().detach())
    assert 0.0 < distance["with"] < 0.5 * distance["without"]


@pytest.mark.parametrize("tokens", [1, 10_000])
def test_the_penalty_is_added_once_an_update(tokens: int, tmp_path: Path) -> None:
    made, added = put(setting(tmp_path), L2(weight=1.0))
    stir(made)
    assert added[0].penalty is not None
    wanted = float(added[0].penalty().detach())
    assert one_update(job(made, added, tmp_path, microbatch_tokens=tokens), 0).penalty == pytest.approx(wanted)
