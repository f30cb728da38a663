"""Feeds that add-ons bring: shares, turns of tasks; noise on embeddings; the outer step of Reptile."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from addon_setting import Rows, examples, job, put, setting

from tunesmith.addons.ewc import Ewc
from tunesmith.addons.kl import Kl
from tunesmith.addons.neftune import Neftune, spread
from tunesmith.addons.replay import Replay
from tunesmith.addons.reptile import Outer, Reptile, TaskFeed
from tunesmith.addons.share import ShareFeed
from tunesmith.contracts.batch import Layout
from tunesmith.contracts.method import Moment
from tunesmith.data.collate import flatten
from tunesmith.engine import checkpoint
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import fit
from tunesmith.errors import UserError
from tunesmith.methods.lora import Lora
from tunesmith.methods.whole import AttachedWhole


@pytest.mark.parametrize("share", [0.1, 0.25, 0.3, 0.5, 0.9])
def test_the_share_is_exact_and_old_rows_come_in_turn(share: float) -> None:
    old = examples(7, seed=4, source=5)
    feed = ShareFeed(Rows(examples(24), 6), old, share=share, seed=0, name="old")
    seen = [[row for row in feed.update(step) if row.source == 5] for step in range(60)]
    counts = [len(one) for one in seen]
    rate = 6 * share / (1 - share)
    for step in range(61):
        assert sum(counts[:step]) == pytest.approx(step * rate, abs=1.0)
    assert max(counts) - min(counts) <= 1
    order = [row.row for one in seen for row in one]
    for turn in range(len(order) // 7):
        assert sorted(order[7 * turn : 7 * turn + 7]) == list(range(7))
    assert order[:7] != order[7:14]


def test_an_update_with_old_rows_is_a_pure_function_of_its_step() -> None:
    def made() -> ShareFeed:
        return ShareFeed(Rows(examples(24), 6), examples(7, source=5), share=0.3, seed=0, name="old")

    forward, feed = [made().update(step) for step in range(20)], made()
    for step in reversed(range(20)):
        again = feed.update(step)
        assert [(row.source, row.row) for row in again] == [(row.source, row.row) for row in forward[step]]
    assert feed.steps_in(2.0) == 8
    assert feed.epoch_of(4) == 1.0


def test_tasks_come_equally_often_each_going_on_in_its_own_rows() -> None:
    tasks = [Rows(examples(12, source=source), 2) for source in range(3)]
    feed = TaskFeed(tasks, inner_steps=4, seed=0)
    for turn in range(5):
        assert sorted(feed.task(3 * turn + place) for place in range(3)) == [0, 1, 2]
    order = [feed.task(iteration) for iteration in range(30)]
    assert len({tuple(order[at : at + 3]) for at in range(0, 30, 3)}) > 1
    seen: Counter[tuple[int, int]] = Counter()
    for step in range(36):  # three iterations of each task: 12 updates of 2, twice its 12 rows
        rows = feed.update(step)
        assert len({row.source for row in rows}) == 1
        seen.update((row.source, row.row) for row in rows)
    assert set(seen.values()) == {2}
    assert feed.steps_in(1.0) == 18


@pytest.mark.parametrize("kind", ["reptile", "fomaml"])
def test_the_outer_step_on_a_quadratic(kind: str) -> None:
    """Inner loss ½ (θ − c)², plain SGD at rate a: after k steps θ_k = c + (1 − a)ᵏ (φ − c). With targets c₁, c₂ and
    ε_i = r (1 − i/n):  φ₁ = φ₀ + ε₀ (θ_k − φ₀),  φ₂ = φ₁ + ε₁ (θ_k − φ₁); of first-order MAML −a ∇L(θ_{k−1}) alone,
    which is a (1 − a)ᵏ⁻¹ (c − φ)."""
    a, k, r, targets = 0.3, 3, 0.8, (2.0, -1.0)
    theta = torch.nn.Parameter(torch.tensor([0.5]))
    weights: Any = SimpleNamespace(parameters={"θ": theta}, values={"θ": theta.detach()})
    optimizer = torch.optim.SGD([theta], lr=a, momentum=0.0)
    outer = Outer(_Nothing(), weights, optimizer, Reptile(kind=kind, inner_steps=k, rate=r))
    for step in range(2 * k):
        moment = Moment(step + 1, 2 * k)
        theta.grad = theta.detach() - targets[step // k]
        outer.before_step(moment, weights.values)
        optimizer.step()
        outer.after_step(moment, weights.values)
        assert bool(outer.state()) == (step % k != k - 1)
    phi = 0.5
    for iteration, target in enumerate(targets):
        whole = (1 - (1 - a) ** k) * (target - phi)
        last = a * (1 - a) ** (k - 1) * (target - phi)
        phi += r * (1 - iteration / 2) * (whole if kind == "reptile" else last)
    assert float(theta.detach()) == pytest.approx(phi, rel=1e-6)


def test_first_order_maml_moves_by_what_the_last_update_did(tmp_path: Path) -> None:
    """On a model: two plain updates on a task, and the start takes the second one alone."""
    made, added = put(setting(tmp_path, steps=2), Reptile(kind="fomaml", inner_steps=2, anneal=False))
    other = setting(tmp_path, steps=2, feed=made.feed)
    start = {name: value.clone() for name, value in other.weights.values.items()}
    fit(job(made, added, tmp_path / "run"), Progress())
    plain = job(other, [], tmp_path / "plain", steps=1)
    fit(plain, Progress())
    once = {name: value.clone() for name, value in other.weights.values.items()}
    fit(replace(plain, steps=2), Progress(step=1))
    for name, value in made.weights.values.items():
        last = other.weights.values[name] - once[name]
        torch.testing.assert_close(value, start[name] + last, rtol=0.0, atol=1e-6)
    assert all(not torch.allclose(once[name], start[name], atol=1e-4) for name in start)


class _Nothing:
    def before_step(self, moment: Moment, values: Any) -> None:
        """Nothing."""

    def after_step(self, moment: Moment, values: Any) -> None:
        """Nothing."""

    def state(self) -> dict[str, torch.Tensor]:
        return {}

    def restore(self, state: Any) -> None:
        assert not state


def test_reptile_starts_every_task_with_a_fresh_optimizer(tmp_path: Path) -> None:
    made, added = put(setting(tmp_path, steps=6), Reptile(inner_steps=3))
    fit(job(made, added, tmp_path), Progress())
    assert not made.optimizer.state
    with pytest.raises(UserError, match="several tasks"):
        put(setting(tmp_path, tasks=lambda: [Rows(examples(4))]), Reptile())


RESUMED: dict[str, list[Any]] = {
    "reptile": [Reptile(inner_steps=3)],
    "fomaml": [Reptile(kind="fomaml", inner_steps=3)],
    "ewc": [Ewc(weight=50.0, rows=4)],
    "replay and noise": [Replay(share=0.3), Neftune(alpha=5.0)],
    "kl": [Kl(weight=1.0, data="auto", share=0.3)],
}


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("stop", [2, 3])
def test_resumed_is_uninterrupted(name: str, stop: int, tmp_path: Path) -> None:
    """Stopped after update 2 (inside an iteration) or 3 (between two), in a new process's objects."""
    method = Lora(rank=4)
    made, added = put(setting(tmp_path, steps=6, method=method), *RESUMED[name])
    fit(job(made, added, tmp_path / "run"), Progress())
    wanted = {key: value.clone() for key, value in made.weights.values.items()}
    again, added = put(setting(tmp_path, steps=6, method=method), *RESUMED[name])
    resumed = job(again, added, tmp_path / "again")
    path = tmp_path / "run" / "checkpoints" / f"step-{stop:06d}"
    resumed.attached.restore(checkpoint.restore(path, resumed.weights, resumed.optimizer))
    fit(resumed, Progress(step=stop))
    assert all(torch.equal(resumed.weights.values[key], value) for key, value in wanted.items())


def test_noise_is_uniform_of_the_papers_size_and_only_in_training(tmp_path: Path) -> None:
    """|noise| ≤ α/√(L d), and its variance a third of that squared, for every sequence whatever its length."""
    made, _ = put(setting(tmp_path), Neftune(alpha=5.0))
    policy: Any = made.policy
    embedding = policy.model.get_input_embeddings()
    seen: list[torch.Tensor] = []
    policy.model.model.layers[0].register_forward_pre_hook(
        lambda _, arguments, named: seen.append((arguments or (named["hidden_states"],))[0]), with_kwargs=True
    )
    rows = examples(40, longest=60)
    batch = flatten(rows)
    for training in (True, False):
        policy.train(training)
        policy(batch, made.objective.want)
    noise = (seen[0] - seen[1])[0].detach()
    clean = embedding.weight[batch.main.ids]
    assert torch.equal(seen[1][0, : len(clean)], clean)
    starts = batch.main.layout.starts.tolist()
    for row, start, end in zip(rows, starts, starts[1:], strict=False):
        bound = 5.0 / (len(row) * 64) ** 0.5
        here = noise[start:end] / bound
        assert float(here.abs().max()) <= 1.0 + 1e-5
        assert float(here.square().mean()) == pytest.approx(1 / 3, rel=0.25)
        assert float(here.mean()) == pytest.approx(0.0, abs=0.15)


def test_the_length_of_a_sequence_counts_its_beginning() -> None:
    """A beginning of 4 with answers of 5 and 12: the sequences are 9 and 16 long, the beginning is of the longer."""
    layout = Layout(torch.tensor([0, 4, 9, 21]), (4, 5, 12), parents=(-1, 0, 0))
    found = spread(layout, 1, 24)[0]
    assert found[:4].tolist() == [0.25] * 4
    assert found[4:9].tolist() == pytest.approx([1 / 3] * 5)
    assert found[9:21].tolist() == [0.25] * 12
    assert found[21:].tolist() == [0.0] * 3
    padded = spread(Layout(torch.tensor([0, 4, 20]), (4, 16)), 2, 16)
    assert padded[0].tolist() == [0.5] * 4 + [0.0] * 12
    assert padded[1].tolist() == [0.25] * 16


def test_reptile_leaves_the_rest_of_the_method_alone(tmp_path: Path) -> None:
    made, _ = put(setting(tmp_path), Reptile())
    assert made.attached.artifact == "model"
    inner: Any = made.attached
    assert isinstance(inner.inner, AttachedWhole)
