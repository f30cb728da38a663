"""AdaLoRA: the layer, the penalty, importance and budget against the paper's formulas; pruning in a real run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from engine.training import equal, final, job
from families import tiny
from tunesmith.contracts.method import Moment
from tunesmith.engine import checkpoint
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import one_update
from tunesmith.errors import UserError
from tunesmith.methods.adalora import Adalora, AttachedAdalora
from tunesmith.methods.adalora_layer import SvdLinear
from tunesmith.methods.adalora_ranks import Budget, Importance, best, off_orthonormal
from tunesmith.methods.folder import read_adapter
from tunesmith.run.resolve import check_steps

IN, OUT, RANK = 12, 10, 3


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("bias", [True, False])
def test_layer_and_its_gradients_are_the_formula(bias: bool) -> None:
    """y = x Wᵀ + b + s x Qᵀ Λ Pᵀ in float64, Λ with a zero among its values: its gradient is as exact as the others."""
    torch.manual_seed(0)
    base = nn.Linear(IN, OUT, bias=bias).double().requires_grad_(False)
    layer = SvdLinear(base, Adalora(rank=RANK, target_rank=2, alpha=5))
    with torch.no_grad():
        layer.lora_E.copy_(torch.tensor([[0.7], [0.0], [-1.2]]))
    x = randn(2, 5, IN, seed=1).requires_grad_()
    Q, E, P = (getattr(layer, name).detach().clone().requires_grad_() for name in ("lora_A", "lora_E", "lora_B"))
    x2 = x.detach().clone().requires_grad_()
    s = 5 / (RANK + 1e-5)
    expected = functional.linear(x2, base.weight, base.bias) + s * x2 @ Q.t() @ torch.diag(E[:, 0]) @ P.t()
    got = layer(x)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
    upstream = randn(2, 5, OUT, seed=2)
    got.backward(upstream)
    expected.backward(upstream)
    pairs = ((x, x2), (layer.lora_A, Q), (layer.lora_E, E), (layer.lora_B, P))
    for mine, reference in pairs:
        torch.testing.assert_close(mine.grad, reference.grad, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(layer.delta(), s * P @ torch.diag(E[:, 0]) @ Q, atol=1e-12, rtol=1e-12)


def test_the_penalty_and_its_gradient_have_a_closed_form() -> None:
    """γ/n Σ R with R = ‖PᵀP - I‖² + ‖QQᵀ - I‖², whose gradients are 4γ/n P(PᵀP - I) and 4γ/n (QQᵀ - I)Q."""
    attached = Adalora(rank=4, target_rank=2, orthogonality=0.3, targets=["q_proj", "down_proj"]).attach(
        tiny("llama").double()
    )
    count, unit = len(attached.svd), torch.eye(4, dtype=torch.float64)
    penalty = attached.penalty()
    assert penalty is not None
    penalty.backward()
    total = 0.0
    for layer in attached.svd.values():
        P, Q = layer.lora_B.detach(), layer.lora_A.detach()
        total += float((P.t() @ P - unit).norm() ** 2 + (Q @ Q.t() - unit).norm() ** 2)
        torch.testing.assert_close(layer.lora_B.grad, 4 * 0.3 / count * P @ (P.t() @ P - unit))
        torch.testing.assert_close(layer.lora_A.grad, 4 * 0.3 / count * (Q @ Q.t() - unit) @ Q)
        assert layer.lora_E.grad is None
    assert penalty.item() == pytest.approx(0.3 * total / count)
    assert Adalora(orthogonality=0).attach(tiny("llama")).penalty() is None


def test_orthonormal_vectors_cost_nothing() -> None:
    P, Q = torch.linalg.qr(randn(OUT, RANK))[0], torch.linalg.qr(randn(IN, RANK))[0].t()
    assert float(off_orthonormal(P, Q)) < 1e-25
    assert float(off_orthonormal(2 * P, Q)) == pytest.approx(RANK * 9)  # (4 - 1)² on the diagonal


def closed_form(t: int, first: int, last: int, begin: int, after: int, steps: int) -> int:
    """Equation 12 of the paper, written as three cases."""
    if t <= begin:
        return first
    if t >= steps - after:
        return last
    return math.floor(last + (first - last) * (1 - (t - begin) / (steps - begin - after)) ** 3)


@pytest.mark.parametrize(
    ("options", "begin", "after", "steps"),
    [
        ({"t_init": 10, "t_final": 20, "delta_t": 1}, 10, 20, 80),
        ({"t_init": 0.1, "t_final": 0.5, "delta_t": 0.01}, 20, 100, 200),
        ({"t_init": 0.0, "t_final": 0.0, "delta_t": 3}, 0, 0, 7),
    ],
)
def test_the_budget_is_the_cubic_of_the_paper(options: dict[str, Any], begin: int, after: int, steps: int) -> None:
    budget = Budget.of(96, 40, **options, steps=steps)
    assert [budget.at(t) for t in range(steps + 1)] == [
        closed_form(t, 96, 40, begin, after, steps) for t in range(steps + 1)
    ]


def test_the_budget_in_numbers_and_when_it_is_applied() -> None:
    budget = Budget.of(100, 40, t_init=10, t_final=20, delta_t=7, steps=80)
    # 40 + 60 (1 - 25/50)³ = 47.5 and 40 + 60 (1 - 1/50)³ = 96.47
    assert [budget.at(t) for t in (0, 10, 11, 35, 60, 80)] == [100, 100, 96, 47, 40, 40]
    assert [t for t in range(81) if budget.allocates(t)] == [14, 21, 28, 35, 42, 49, 56, 60]


@pytest.mark.parametrize("steps", range(1, 12))
@pytest.mark.parametrize(("t_init", "t_final"), [(0.1, 0.5), (0.0, 0.9), (5, 5), (800, 3500), (3, 0.5)])
def test_a_run_of_any_length_ends_with_the_target(steps: int, t_init: float, t_final: float) -> None:
    budget = Budget.of(30, 20, t_init=t_init, t_final=t_final, delta_t=100, steps=steps)
    curve = [budget.at(t) for t in range(steps + 1)]
    assert curve[-1] == 20
    assert curve == sorted(curve, reverse=True)
    assert any(budget.allocates(t) for t in range(1, steps + 1))


def test_importance_is_that_of_a_slow_reference() -> None:
    """Equations 7 to 11 entry by entry in float64, over six updates."""
    generator = torch.Generator().manual_seed(5)
    shapes = {"Q": (RANK, IN), "E": (RANK, 1), "P": (OUT, RANK)}
    importance = Importance({})
    smooth = {name: [[0.0] * columns for _ in range(rows)] for name, (rows, columns) in shapes.items()}
    doubt = {name: [[0.0] * columns for _ in range(rows)] for name, (rows, columns) in shapes.items()}
    for _ in range(6):
        for name, (rows, columns) in shapes.items():
            value = torch.randn(rows, columns, generator=generator)
            value.grad = torch.randn(rows, columns, generator=generator)
            importance.see(name, value, beta1=0.8, beta2=0.6)
            for row in range(rows):
                for column in range(columns):
                    now = abs(float(value[row, column]) * float(value.grad[row, column]))
                    mean = 0.8 * smooth[name][row][column] + 0.2 * now
                    smooth[name][row][column] = mean
                    doubt[name][row][column] = 0.6 * doubt[name][row][column] + 0.4 * abs(now - mean)

    def s(name: str, row: int, column: int) -> float:
        return smooth[name][row][column] * doubt[name][row][column]

    expected = [
        s("E", i, 0) + sum(s("P", j, i) for j in range(OUT)) / OUT + sum(s("Q", i, j) for j in range(IN)) / IN
        for i in range(RANK)
    ]
    assert importance.of_triplets("Q", "E", "P").tolist() == pytest.approx(expected, rel=1e-5)


def test_a_parameter_without_a_gradient_has_no_importance() -> None:
    importance = Importance({})
    importance.see("w", torch.ones(2, 2), beta1=0.5, beta2=0.5)
    assert not importance.of("w").any()


def test_the_best_of_all_layers_together() -> None:
    kept = best({"a": torch.tensor([1.0, 9.0, 2.0]), "b": torch.tensor([2.0, 0.0, 8.0])}, 3)
    assert kept["a"].tolist() == [False, True, True]  # the first of two equal ones
    assert kept["b"].tolist() == [False, False, True]


METHOD = Adalora(rank=3, target_rank=2, t_init=2, t_final=4, delta_t=2, targets=["q_proj", "v_proj", "down_proj"])


def nonzero(made: Any) -> int:
    return sum(int((value != 0).sum()) for name, value in made.weights.values.items() if name.endswith("lora_E"))


def test_a_run_prunes_by_the_budget_and_keeps_what_it_pruned_at_zero(tmp_path: Path) -> None:
    """18 values (6 layers of rank 3) fall to 12; chosen after updates 4, 6 and, for good, 8 of 12."""
    made = job(tmp_path, steps=12, method=METHOD)
    counts, last = [], None
    for step in range(12):
        update = one_update(made, step)
        assert update.penalty > 0
        counts.append(nonzero(made))
        if step + 1 >= 8:
            mask = {name: mask.tolist() for name, mask in made.attached.kept.items()}
            assert last in (None, mask)
            last = mask
    # 12 + 6 (1 - 2/6)³ = 13.78 and 12 + 6 (1 - 4/6)³ = 12.2
    assert [counts[at - 1] for at in (1, 2, 3, 4, 6, 8)] == [18, 18, 18, 13, 12, 12]
    assert set(counts[7:]) == {12}
    assert counts[4] > 12, "between two choices gradients bring values back"
    parameters = dict(made.attached.parameters)
    assert all(torch.equal(parameters[name], value) for name, value in made.weights.values.items())
    state = made.attached.state()
    assert all(name.endswith("|kept") for name in state), "importance is dropped once the last choice is made"


def test_a_pruned_value_can_come_back() -> None:
    attached = Adalora(rank=2, target_rank=1, t_init=0, t_final=2, delta_t=1, targets=["q_proj"], beta1=0.1).attach(
        tiny("llama")
    )
    values = {name: value.detach().clone() for name, value in attached.parameters.items()}
    choices = []
    for step in range(1, 5):
        for name, value in values.items():
            if name.endswith("lora_E"):
                value.fill_(1.0)
            wanted = 0 if step <= 2 else 1
            gradient = torch.full_like(value, 1e-3)
            (gradient[:, wanted] if name.endswith("lora_B") else gradient[wanted]).fill_(float(step) ** 3)
            value.grad = gradient
        moment = Moment(step, 6)
        attached.before_step(moment, values)
        attached.after_step(moment, values)
        choices.append({path: mask.tolist() for path, mask in attached.kept.items()})
    assert all(mask == [True, False] for mask in choices[1].values())
    assert all(mask == [False, True] for mask in choices[3].values())
    assert all(v.flatten().tolist() == [0.0, 1.0] for n, v in values.items() if n.endswith("lora_E"))


@pytest.mark.parametrize("stopped", [1, 5, 7, 10], ids=["before", "between", "pruning", "after"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resumed_run_is_the_run(stopped: int, dtype: torch.dtype, tmp_path: Path) -> None:
    straight = job(tmp_path / "a", steps=12, method=METHOD, dtype=dtype)
    for step in range(12):
        one_update(straight, step)
    first = job(tmp_path / "b", steps=12, method=METHOD, dtype=dtype)
    for step in range(stopped):
        one_update(first, step)
    saved = checkpoint.save(
        tmp_path, Progress(step=stopped), first.weights, first.optimizer, method=first.attached.state()
    )
    second = job(tmp_path / "c", steps=12, method=METHOD, dtype=dtype)
    for step in range(3):  # what a fresh process may have done before, as proofs do
        one_update(second, step)
    second.attached.restore(checkpoint.restore(saved, second.weights, second.optimizer))
    for step in range(stopped, 12):
        one_update(second, step)
    assert equal(final(second), final(straight))
    assert equal(second.attached.state(), straight.attached.state())


def pruned(family: str = "llama", **options: Any) -> tuple[Any, AttachedAdalora]:
    """A model whose AdaLoRA was pruned at random: one layer to nothing, one not at all."""
    model = tiny(family)
    attached = Adalora(rank=3, target_rank=1, **options).attach(model)
    generator = torch.Generator().manual_seed(3)
    masks = [torch.rand(3, generator=generator) > 0.5 for _ in attached.svd]
    masks[0], masks[1] = torch.zeros(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    attached.kept = dict(zip(attached.svd, masks, strict=True))
    with torch.no_grad():
        for mask, layer in zip(masks, attached.svd.values(), strict=True):
            layer.lora_E.copy_(torch.randn(3, 1, generator=generator).masked_fill(~mask[:, None], 0.0))
    return model.eval(), attached


def logits(model: Any) -> torch.Tensor:
    ids = torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        return model(input_ids=ids).logits


def test_pruned_values_are_not_stored_and_the_model_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    model, attached = pruned()
    attached.save(tmp_path, attached.parameters)
    config, tensors = read_adapter(tmp_path)
    first, second = list(attached.svd)[:2]
    assert config["rank_pattern"][f"{first}.lora_E"] == [False] * 3
    assert [tensors[f"base_model.model.{first}.{name}"].numel() for name in ("lora_A", "lora_E", "lora_B")] == [0] * 3
    assert len(tensors[f"base_model.model.{second}.lora_E"]) == 3
    fresh = tiny("llama")
    again = Adalora(rank=3, target_rank=1).attach(fresh)
    with torch.no_grad():
        for layer in again.svd.values():
            layer.lora_E.fill_(1.0)  # what is not in the file must be zero afterwards
    again.load(tmp_path)
    assert torch.equal(logits(fresh), logits(model))
    again.save(tmp_path / "again", again.parameters)
    assert read_adapter(tmp_path / "again")[0] == config


def test_a_value_that_came_back_is_stored(tmp_path: Path) -> None:
    model, attached = pruned()
    with torch.no_grad():
        next(iter(attached.svd.values())).lora_E[1] = 0.5
    attached.save(tmp_path, attached.parameters)
    fresh = tiny("llama")
    Adalora(rank=3, target_rank=1).attach(fresh).load(tmp_path)
    assert torch.equal(logits(fresh), logits(model))


def test_another_rank_is_refused(tmp_path: Path) -> None:
    _, attached = pruned()
    attached.save(tmp_path, attached.parameters)
    with pytest.raises(UserError, match="another init_r"):
        Adalora(rank=4, target_rank=1).attach(tiny("llama")).load(tmp_path)


def test_vectors_are_not_decayed_and_values_are() -> None:
    values, vectors = METHOD.attach(tiny("llama")).groups()
    assert values.decay
    assert not vectors.decay
    assert all(name.endswith("lora_E") for name in values.parameters)
    assert len(vectors.parameters) == 2 * len(values.parameters)


@pytest.mark.parametrize(
    "options", [{"rank": 3, "target_rank": 4}, {"t_init": 0.5, "t_final": 0.5}, {"beta1": 1.0}, {"delta_t": -1}]
)
def test_mistakes(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"Adalora"):
        Adalora(**options)


@pytest.mark.parametrize(
    ("t_init", "t_final", "steps", "refused"),
    [(5, 10, 6, True), (3, 3, 6, True), (3, 2, 6, False), (0.5, 3, 6, True), (0.4, 0.5, 1, False)],
)
def test_lengths_in_updates_that_leave_none_for_pruning_are_refused(
    t_init: float, t_final: float, steps: int, refused: bool
) -> None:
    method = Adalora(t_init=t_init, t_final=t_final)
    if not refused:
        check_steps(method, steps)
        return
    with pytest.raises(UserError, match=rf"of {steps} updates; allowed: together fewer than {steps}") as caught:
        check_steps(method, steps)
    assert caught.value.code == "no-pruning"


def test_a_run_whose_length_is_not_known_is_not_refused() -> None:
    check_steps(Adalora(t_init=500, t_final=500), None)


def test_a_rank_above_that_of_a_layer_is_refused() -> None:
    with pytest.raises(UserError, match="got 33; allowed: 1 to 32") as caught:
        Adalora(target_rank=22).attach(tiny("llama"))
    assert caught.value.code == "rank-too-large"


def test_the_initial_rank_is_one_and_a_half_of_the_target() -> None:
    assert [Adalora(target_rank=target).initial_rank for target in (1, 8, 16)] == [2, 12, 24]
